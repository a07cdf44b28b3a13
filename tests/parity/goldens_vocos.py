"""Writes tests/golden/vocos_*.npz."""

from tests import cases_vocos as cases
from tests.golden import save
from tests.parity import oracle_vocos as oracle


def write() -> None:
    for name, config in cases.TINY.items():
        shapes = oracle.shapes(config)
        outputs = oracle.run(config, cases.weights(shapes), cases.inputs(config), dtype="float64")
        save(f"vocos_{name}", shapes=shapes, outputs=outputs)
