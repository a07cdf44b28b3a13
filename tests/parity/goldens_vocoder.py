"""Writes tests/golden/vocoder_*.npz."""

from tests import cases_vocoder as cases
from tests.golden import save
from tests.parity import oracle_vocoder as oracle


def write() -> None:
    for name, config in cases.TINY.items():
        shapes = oracle.shapes(config)
        outputs = oracle.run(
            config, cases.weights(config, shapes), cases.inputs(config), dtype="float64"
        )
        save(f"vocoder_{name}", shapes=shapes, outputs=outputs)
