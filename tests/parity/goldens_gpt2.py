"""Writes tests/golden/gpt2_*.npz."""

from tests import cases_gpt2 as cases
from tests.golden import save
from tests.parity import oracle_gpt2 as oracle


def write() -> None:
    for name, config in cases.TINY.items():
        shapes = oracle.shapes(config)
        outputs = oracle.run(config, cases.weights(shapes), cases.inputs(config), dtype="float64")
        save(f"gpt2_{name}", shapes=shapes, outputs=outputs)
