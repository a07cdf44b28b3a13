"""UNet against diffusers."""

import jax
import numpy as np
import pytest

from ldm_jax.convert import unet as convert_unet
from ldm_jax.convert.rules import export
from tests import cases_unet as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, relative_error
from tests.models.test_unet import converted, run
from tests.parity import oracle_unet as oracle


def compare(config: dict, inputs: dict, dtype: str) -> float:
    tensors = cases.tensors(oracle.shapes(config), dtype=dtype)
    theirs = oracle.run(config, tensors, inputs, dtype=dtype)["output"]
    ours = run(config, tensors, inputs, dtype=dtype)["output"]
    assert 0.1 < theirs.std() < 10
    return relative_error(ours, theirs)


@pytest.mark.parametrize("name", cases.TINY)
@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", FLOAT32_BOUND), ("float64", FLOAT64_BOUND)]
)
def test_tiny(name, dtype, bound):
    config = cases.TINY[name]
    assert compare(config, cases.inputs(config, cases.SIZES[name]), dtype) < bound


@pytest.mark.parametrize("time", [1, 2, 3, 5, 8, 13])
def test_any_length(time):
    """Lengths that do not halve evenly; three levels."""
    config = cases.TINY["speech"]
    assert compare(config, cases.inputs(config, (time, 3)), "float64") < FLOAT64_BOUND


@pytest.mark.slow
@pytest.mark.parametrize("heads", [{}, cases.WIDE_32], ids=["8_heads", "wide_32"])
@pytest.mark.parametrize("name", cases.PUBLISHED)
def test_published(name, heads):
    config = cases.PUBLISHED[name] | heads
    size = (20, 32) if name == "48k" else (41, 16)
    error = compare(config, cases.inputs(config, size, batch=1), "float32")
    print(f"{name} {heads}: {error:.2e}")
    jax.clear_caches()
    assert error < FLOAT32_BOUND


@pytest.mark.parametrize("name", cases.PUBLISHED)
def test_published_tensors(name):
    shapes = oracle.shapes(cases.PUBLISHED[name])
    assert len(shapes) == cases.TENSORS.get(name, len(shapes))
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == cases.PARAMETERS[name]


@pytest.mark.parametrize("name", cases.TINY)
def test_export_loads_in_the_peer(name):
    """Config and weights written by us give the peer the same network."""
    config = cases.TINY[name]
    tensors = cases.tensors(oracle.shapes(config))
    module = convert_unet.from_config(config)
    params = converted(module, tensors, convert_unet.DIFFUSERS)
    exported = export(params, convert_unet.DIFFUSERS, network="UNet")
    inputs = cases.inputs(config, cases.SIZES[name])
    theirs = oracle.run(convert_unet.to_config(module), exported, inputs, dtype="float64")
    expected = oracle.run(config, tensors, inputs, dtype="float64")
    np.testing.assert_array_equal(theirs["output"], expected["output"])
