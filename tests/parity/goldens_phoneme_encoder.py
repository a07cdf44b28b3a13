"""Writes tests/golden/phoneme_encoder_*.npz."""

from tests import cases_phoneme_encoder as cases
from tests.golden import save
from tests.parity import oracle_phoneme_encoder as oracle


def write() -> None:
    for name, config in cases.TINY.items():
        shapes = oracle.shapes(config)
        outputs = oracle.run(
            config, cases.weights(config, shapes), cases.inputs(config), dtype="float64"
        )
        save(f"phoneme_encoder_{name}", shapes=shapes, outputs=outputs)
