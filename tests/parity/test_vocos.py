"""Vocos against its authors' package."""

import numpy as np
import pytest

from tests import cases_vocos as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, relative_error
from tests.models.test_vocos import run
from tests.parity import oracle_vocos as oracle


def compare(config: dict, inputs: dict, dtype: str) -> float:
    tensors = cases.weights(oracle.shapes(config))
    theirs = oracle.run(config, tensors, inputs, dtype=dtype)["wave"]
    assert theirs.std() > 0.03
    return relative_error(run(config, tensors, inputs, dtype=dtype)["wave"], theirs)


@pytest.mark.parametrize("config", cases.TINY.values(), ids=cases.TINY)
@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", FLOAT32_BOUND), ("float64", FLOAT64_BOUND)]
)
def test_tiny(config, dtype, bound):
    assert compare(config, cases.inputs(config), dtype) < bound


@pytest.mark.slow
def test_published():
    inputs = cases.inputs(cases.PUBLISHED, frames=50)
    assert compare(cases.PUBLISHED, inputs, "float32") < FLOAT32_BOUND


def test_published_size():
    shapes = oracle.shapes(cases.PUBLISHED)
    assert sum(np.prod(x) for x in shapes.values()) == cases.PUBLISHED_PARAMETERS
