"""Writes tests/golden/vae_*.npz."""

from tests import cases_vae as cases
from tests.golden import random_tensors, save
from tests.parity import oracle_vae as oracle


def write() -> None:
    for name, config in cases.TINY.items():
        shapes = oracle.shapes(config)
        outputs = oracle.run(config, random_tensors(shapes), cases.inputs(config), dtype="float64")
        save(f"vae_{name}", shapes=shapes, outputs=outputs)
