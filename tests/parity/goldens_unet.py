"""Writes tests/golden/unet_*.npz."""

from tests import cases_unet as cases
from tests.golden import save
from tests.parity import oracle_unet as oracle


def write() -> None:
    for name, config in cases.TINY.items():
        shapes = oracle.shapes(config)
        inputs = cases.inputs(config, cases.SIZES[name])
        outputs = oracle.run(config, cases.tensors(shapes), inputs, dtype="float64")
        save(f"unet_{name}", shapes=shapes, outputs=outputs)
