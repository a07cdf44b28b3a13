"""musicnn without TensorFlow: against golden outputs of the package's own graph, its checkpoint, what it refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.convert import musicnn, rules, single
from ldm_jax.convert.checkpoint import abstract_params, count_params
from ldm_jax.models.musicnn import Musicnn
from tests import cases_musicnn as cases
from tests.convert import bundle_bytes
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, load, relative_error


@functools.cache
def stored():
    shapes, outputs = load("musicnn")
    return cases.weights(shapes), outputs


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The random weights as the published ones are stored, with what the optimiser left."""
    tensors = {name: x.astype(np.float32) for name, x in stored()[0].items()}
    tensors |= {f"dense/bias/{name}": np.zeros(200, np.float32) for name in ("Adam", "Adam_1")}
    tensors["beta1_power"] = np.float32(0)
    folder = bundle_bytes.write(tmp_path_factory.mktemp("musicnn") / "MTT_musicnn", tensors)
    return single.load(folder, "musicnn")


@pytest.mark.parametrize("frames", cases.FRAMES)
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float64", 1e-12)])
def test_golden(checkpoint, frames, dtype, bound):
    assert bound <= {"float32": FLOAT32_BOUND, "float64": FLOAT64_BOUND}[dtype]
    outputs = stored()[1]
    with jax.enable_x64(dtype == "float64"):
        module = checkpoint.networks["musicnn"].clone(dtype=jnp.dtype(dtype))
        params = jax.tree.map(lambda x: jnp.asarray(x, dtype), checkpoint.params["musicnn"])
        run = jax.jit(lambda p, x: module.apply({"params": p}, x))
        ours = jax.tree.map(np.asarray, run(params, jnp.asarray(cases.log_mel(frames), dtype)))
    for name in ("logits", "embedding"):
        golden = outputs[f"{frames}_{name}"]
        assert np.abs(golden[0] - golden[1]).max() > 0.02 * np.abs(golden).max()  # patches differ
        assert getattr(ours, name).dtype == dtype
        assert relative_error(getattr(ours, name), golden) < bound


def test_published_size(checkpoint):
    assert checkpoint.networks["musicnn"] == Musicnn()
    assert count_params(checkpoint.params["musicnn"]) == cases.PUBLISHED_PARAMETERS
    expected = abstract_params(Musicnn())
    assert count_params(expected) == cases.PUBLISHED_PARAMETERS


def test_size_is_told_by_the_tensors():
    """The package's larger network, too."""
    shapes = {
        "conv2d/kernel": (7, 38, 1, 204),
        "conv2d_4/kernel": (32, 1, 1, 51),
        "conv2d_7/kernel": (7, 512, 1, 512),
        "dense_1/kernel": (500, 50),
    }
    tensors = {name: np.zeros(shape) for name, shape in shapes.items()}
    assert musicnn.network_of(tensors) == Musicnn(middle=512, hidden=500)
    with pytest.raises(rules.ConversionError, match=r"dense_1/kernel is \(500, 50, 1\)"):
        musicnn.network_of({**tensors, "dense_1/kernel": np.zeros((500, 50, 1))})


def test_tables_go_both_ways():
    tensors = stored()[0]
    params = rules.convert(
        tensors, musicnn.TENSORFLOW, abstract_params(Musicnn()), network="musicnn"
    )
    back = rules.export(params, musicnn.TENSORFLOW, network="musicnn")
    assert back.keys() == tensors.keys()
    for name, x in tensors.items():
        np.testing.assert_array_equal(back[name], x)


def test_a_tensor_that_is_missing_is_named():
    tensors = {name: x for name, x in stored()[0].items() if name != "conv2d_6/bias"}
    with pytest.raises(rules.ConversionError, match="conv2d_6/bias"):
        rules.convert(tensors, musicnn.TENSORFLOW, abstract_params(Musicnn()), network="musicnn")


@pytest.mark.parametrize("shape", [(1, 187, 64), (1, 0, 96)])
def test_refuses_other_shapes(shape):
    params = abstract_params(Musicnn())
    with pytest.raises(ValueError, match=r"should be \(batch, frames, 96\)"):
        jax.eval_shape(lambda p: Musicnn().apply({"params": p}, jnp.zeros(shape)), params)
