"""AudioMAE against PyTorch on random weights: our network, the oracle, and the stored goldens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ldm_jax.convert import audiomae as conversion
from ldm_jax.convert import rules
from ldm_jax.models.audiomae import AudioMAE
from ldm_jax.models.audiomae_pretraining import patchify, reconstruction_loss
from ldm_jax.models.loa import pool_loa
from tests import cases_audiomae as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, load, random_array, relative_error
from tests.parity import oracle_audiomae as oracle

DTYPES = {"float32": torch.float32, "float64": torch.float64}
PRECISIONS = pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", FLOAT32_BOUND), ("float64", FLOAT64_BOUND)]
)


def run(module: AudioMAE, tensors, inputs, *, dtype: str) -> dict[str, np.ndarray]:
    """Our outputs for the published tensors, in `dtype` throughout."""
    with jax.enable_x64(dtype == "float64"):
        module = module.clone(dtype=jnp.dtype(dtype))
        fbank = jnp.asarray(inputs["fbank"], dtype)
        shapes = jax.eval_shape(module.init, jax.random.key(0), fbank)["params"]
        params = rules.convert(tensors, conversion.OFFICIAL, shapes, network="AudioMAE")
        params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)

        @jax.jit
        def everything(params, fbank, keep, restore, mask):
            bound = module.bind({"params": params})
            latent = bound.encode(fbank, keep)
            pred = bound.decode(latent, restore)
            return {
                "features": bound.features(fbank),
                "latent": latent,
                "pred": pred,
                "loss": reconstruction_loss(pred, fbank, mask),
                "loss_plain": reconstruction_loss(pred, fbank, mask, norm_pix=False),
            }

        ids = [jnp.asarray(inputs[name]) for name in ("keep_ids", "restore_ids")]
        out = everything(params, fbank, *ids, jnp.asarray(inputs["mask"], dtype))
        return {name: np.asarray(x) for name, x in out.items()}


def errors(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: relative_error(x, theirs[name]) for name, x in ours.items()}


@PRECISIONS
@pytest.mark.parametrize("name", cases.CASES)
def test_tiny(name, dtype, bound):
    module = cases.module(name)
    tensors = cases.tensors(oracle.shapes(module))
    inputs = cases.inputs(module.img_size, module.patch_size)
    theirs = oracle.run(module, tensors, inputs, dtype=DTYPES[dtype])
    found = errors(run(module, tensors, inputs, dtype=dtype), theirs)
    assert max(found.values()) < bound, found


@pytest.mark.parametrize("name", cases.CASES)
def test_oracle_agrees_with_the_authors_code(name):
    module = cases.module(name)
    shapes, golden = load(f"audiomae_{name}")
    assert oracle.shapes(module) == shapes
    inputs = cases.inputs(module.img_size, module.patch_size)
    ours = oracle.run(module, cases.tensors(shapes), inputs, dtype=torch.float64)
    found = errors(ours, golden)
    assert max(found.values()) < 1e-12, found


@pytest.mark.slow
@pytest.mark.parametrize("name", cases.PUBLISHED)
def test_published(name):
    module = conversion.from_config(cases.PUBLISHED[name])
    tensors = cases.tensors(oracle.shapes(module))
    inputs = cases.inputs(module.img_size, module.patch_size, batch=1)
    theirs = oracle.run(module, tensors, inputs, dtype=torch.float32)
    found = errors(run(module, tensors, inputs, dtype="float32"), theirs)
    assert max(found.values()) < FLOAT32_BOUND, found


@pytest.mark.parametrize(("time_pool", "freq_pool"), [(8, 8), (4, 4), (1, 1), (32, 2)])
def test_pooling(time_pool, freq_pool):
    features = random_array("features", (2, 512, 12)).astype(np.float32)
    grid = torch.from_numpy(features).transpose(1, 2).unflatten(-1, (64, 8))
    size = (time_pool, freq_pool)
    mean, top = torch.nn.AvgPool2d(size)(grid), torch.nn.MaxPool2d(size)(grid)
    theirs = ((mean + top) / 2).flatten(2).transpose(1, 2).numpy()
    ours = pool_loa(jnp.asarray(features), time_pool=time_pool, freq_pool=freq_pool)
    assert relative_error(ours, theirs) < 1e-6


def test_patches_are_a_convolution():
    """The transform of the patch kernel and the order of pixels within a patch."""
    kernel = random_array("kernel", (5, 1, 16, 16))
    fbank = random_array("fbank", (2, 48, 32))
    theirs = torch.nn.functional.conv2d(
        torch.from_numpy(fbank)[:, None], torch.from_numpy(kernel), stride=16
    )
    (matrix,) = conversion.PATCHES.forward(kernel)
    with jax.enable_x64(True):
        ours = patchify(jnp.asarray(fbank), 16) @ jnp.asarray(matrix)
        assert relative_error(ours, theirs.flatten(2).transpose(1, 2).numpy()) < 1e-12
    np.testing.assert_array_equal(conversion.PATCHES.backward(matrix)[0], kernel)
