"""Writes tests/golden/translator_*.npz."""

from tests import cases_translator as cases
from tests.golden import save
from tests.parity import oracle_translator as oracle


def write() -> None:
    for name, config in cases.TINY.items():
        shapes = oracle.shapes(config, cases.GPT2)
        outputs = oracle.run(
            config,
            cases.GPT2,
            cases.weights(shapes),
            cases.streams(config),
            n_tokens=cases.N_TOKENS,
            dtype="float64",
        )
        save(f"translator_{name}", shapes=shapes, outputs=outputs)
