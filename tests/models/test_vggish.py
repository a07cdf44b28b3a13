"""VGGish without torch: against golden outputs of torchvggish, and what must not matter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.convert import checkpoint, rules, vggish
from ldm_jax.models.vggish import VGGish, quantised
from tests import cases_eval_networks as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, load, random_array, relative_error

PCA = {"pproc.pca_eigen_vectors": np.eye(128), "pproc.pca_means": np.zeros((128, 1))}


@functools.cache
def stored(name: str):
    shapes, outputs = load(f"vggish_{name}")
    return cases.weights(shapes), outputs["embedding"]


def convert(module: VGGish, tensors) -> rules.Params:
    expected = checkpoint.abstract_params(module)
    return rules.convert(tensors, vggish.TORCHVGGISH, expected, network="VGGish")


def prepare(module: VGGish, tensors, *, dtype: str):
    """Our network in `dtype` throughout, prepared once, as a function of its examples."""
    module = module.clone(dtype=jnp.dtype(dtype))
    wide = np.promote_types(dtype, np.float32)
    with jax.enable_x64(dtype == "float64"):
        params = jax.tree.map(lambda x: jnp.asarray(x, dtype), convert(module, tensors))
        prepared = jax.jit(functools.partial(module.apply, method="prepare"))({"params": params})
    compiled = jax.jit(lambda *x: module.apply({}, *x))

    def run(examples: np.ndarray) -> np.ndarray:
        with jax.enable_x64(dtype == "float64"):
            return np.asarray(compiled(jnp.asarray(examples, wide), prepared))

    return run


@functools.cache
def prepared(name: str, dtype: str):
    return prepare(cases.VGGISH[name], stored(name)[0], dtype=dtype)


@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", FLOAT32_BOUND), ("float64", FLOAT64_BOUND)]
)
@pytest.mark.parametrize("name", cases.VGGISH)
def test_golden(name, dtype, bound):
    golden = stored(name)[1]
    ours = prepared(name, dtype)(cases.examples())
    assert ours.dtype == dtype
    assert np.abs(np.diff(golden, axis=0)).max() > 0.05 * np.abs(golden).max()  # examples differ
    assert (golden < 0).any()  # there is no relu at the end
    assert relative_error(ours, golden) < bound


def test_unprepared_is_prepared():
    module, (tensors, _) = cases.VGGISH["narrow"], stored("narrow")
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), convert(module, tensors))
    x = jnp.asarray(cases.examples(), jnp.float32)
    ours = jax.jit(module.apply)({"params": params}, x)
    assert relative_error(ours, prepared("narrow", "float32")(x)) < 1e-6


def test_batch_changes_no_row():
    """To the last bit."""
    run, examples = prepared("wide", "float32"), cases.examples()
    np.testing.assert_array_equal(run(examples[:1]), run(examples)[:1])


def test_half_precision():
    ours = prepared("wide", "bfloat16")(cases.examples())
    assert ours.dtype == np.float32
    assert 1e-4 < relative_error(ours, stored("wide")[1]) < 3e-2


def test_published_sizes():
    shapes = checkpoint.abstract_params(VGGish())
    assert checkpoint.count_params(shapes) == cases.VGGISH_PARAMETERS
    assert shapes["embeddings_0"]["kernel"].shape == (12_288, 4096)
    assert shapes["features_13"]["kernel"].shape == (3, 3, 512, 512)


@pytest.mark.parametrize("name", cases.VGGISH)
def test_conversion_is_a_bijection(name):
    module, (tensors, _) = cases.VGGISH[name], stored(name)
    params = convert(module, tensors | PCA)
    back = rules.export(params, vggish.TORCHVGGISH, network="VGGish")
    assert back.keys() == tensors.keys()
    for key, tensor in tensors.items():
        np.testing.assert_array_equal(back[key], tensor, strict=True)


def test_another_networks_weights():
    with pytest.raises(rules.ConversionError, match="tensors that no parameter takes"):
        convert(VGGish(), {"conv_block1.conv1.weight": np.zeros((64, 1, 3, 3))})


def test_quantised():
    """AudioSet's released form: -2 and below is 0, 1 is 191.25, 2 and above is 255."""
    means = random_array("means", (128,))
    turn = np.linalg.qr(random_array("turn", (128, 128)))[0]
    wanted = np.resize([-2.1, 1.0, 2.1, -3.0, 5.0], (2, 128))
    arrays = (wanted @ turn + means, turn, means)
    ours = quantised(*(jnp.asarray(x, jnp.float32) for x in arrays))
    np.testing.assert_array_equal(ours, np.resize([0, 191, 255, 0, 255], (2, 128)))


def test_wrong_examples():
    with pytest.raises(ValueError, match=r"\(2, 90, 64\); they should be \(batch, 96, 64\)"):
        prepared("narrow", "float32")(np.zeros((2, 90, 64)))
