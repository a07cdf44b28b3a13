"""PaSST without torch: against golden outputs of hear21passt, its published size, and what it refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.convert import passt, rules
from ldm_jax.convert.checkpoint import abstract_params
from tests import cases_passt as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, load, relative_error


@functools.cache
def stored():
    shapes, outputs = load("passt")
    return cases.weights(shapes), outputs


def run(dtype: str, log_mel: np.ndarray):
    """Our network in `dtype` throughout, with the weights of the golden file."""
    tensors = stored()[0]
    module = passt.network_of(tensors)
    expected = abstract_params(module)
    params = rules.convert(tensors, passt.HEAR21PASST, expected, network="passt")
    with jax.enable_x64(dtype == "float64"):
        params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)
        module = module.clone(dtype=jnp.dtype(dtype))
        apply = jax.jit(lambda p, x: module.apply({"params": p}, x))
        return jax.tree.map(np.asarray, apply(params, jnp.asarray(log_mel, dtype)))


@pytest.mark.parametrize("frames", cases.FRAMES)
@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", FLOAT32_BOUND), ("float64", FLOAT64_BOUND)]
)
def test_golden(frames, dtype, bound):
    outputs = stored()[1]
    ours = run(dtype, cases.log_mel(frames))
    assert relative_error(ours.logits, outputs[f"{frames}_logits"]) < bound
    assert relative_error(ours.features, outputs[f"{frames}_features"]) < bound


def test_size_is_told_by_the_tensors():
    assert passt.network_of(stored()[0]) == cases.SMALL
    without = {name: x for name, x in stored()[0].items() if name != "dist_token"}
    with pytest.raises(rules.ConversionError, match="no PaSST with a distillation token"):
        passt.network_of(without)


def test_published_size():
    leaves = jax.tree.leaves(abstract_params(cases.PUBLISHED))
    assert sum(x.size for x in leaves) == cases.PUBLISHED_PARAMETERS


def test_tables_go_both_ways():
    tensors = stored()[0]
    expected = abstract_params(cases.SMALL)
    params = rules.convert(tensors, passt.HEAR21PASST, expected, network="passt")
    back = rules.export(params, passt.HEAR21PASST, network="passt")
    kept = {name: x for name, x in tensors.items() if not name.startswith("head_dist")}
    assert back.keys() == kept.keys()
    for name, x in kept.items():
        np.testing.assert_array_equal(back[name], x)


@pytest.mark.parametrize("shape", [(1, 15, 128), (1, 1006, 128), (1, 998, 64)])
def test_refuses_other_shapes(shape):
    params = abstract_params(cases.SMALL)
    with pytest.raises(ValueError, match="16 to 1005 frames"):
        jax.eval_shape(lambda p: cases.SMALL.apply({"params": p}, jnp.zeros(shape)), params)
