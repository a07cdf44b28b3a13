"""AudioMAE without torch: against golden outputs of its authors' code, and what must not matter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.convert import audiomae as conversion
from ldm_jax.convert import rules
from ldm_jax.models import audiomae_blocks as blocks
from ldm_jax.models.audiomae import FIXED, sincos_table
from ldm_jax.models.audiomae_pretraining import (
    patchify,
    random_masking,
    reconstruction_loss,
    unpatchify,
)
from tests import cases_audiomae as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, load, random_array, relative_error

PRECISIONS = pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", FLOAT32_BOUND), ("float64", FLOAT64_BOUND)]
)


@functools.cache
def stored(name: str):
    """(network, weights in our layout, inputs, golden outputs)."""
    shapes, outputs = load(f"audiomae_{name}")
    module = cases.module(name)
    tensors = cases.tensors(shapes)
    params = rules.convert(tensors, conversion.OFFICIAL, cases.expected(module), network="AudioMAE")
    return module, params, cases.inputs(module.img_size, module.patch_size), outputs


@functools.partial(jax.jit, static_argnames=("module", "method"))
def apply(module, params, *args, method="__call__"):
    return module.apply({"params": params}, *args, method=method)


def as_arrays(tree, dtype):
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)


# The network against its authors' code


@PRECISIONS
@pytest.mark.parametrize("name", cases.CASES)
def test_golden(name, dtype, bound):
    module, params, inputs, outputs = stored(name)
    with jax.enable_x64(dtype == "float64"):
        module = module.clone(dtype=jnp.dtype(dtype))
        params, fbank = as_arrays((params, inputs["fbank"]), dtype)
        keep, restore = jnp.asarray(inputs["keep_ids"]), jnp.asarray(inputs["restore_ids"])
        pred = apply(module, params, fbank, keep, restore)
        mask = jnp.asarray(inputs["mask"], dtype)
        ours = {
            "features": apply(module, params, fbank, method="features"),
            "latent": apply(module, params, fbank, keep, method="encode"),
            "pred": pred,
            "loss": reconstruction_loss(pred, fbank, mask),
            "loss_plain": reconstruction_loss(pred, fbank, mask, norm_pix=False),
        }
        errors = {key: relative_error(x, outputs[key]) for key, x in ours.items()}
        assert {x.dtype for x in ours.values()} == {jnp.dtype(dtype)}
    assert max(errors.values()) < bound, errors


def test_bfloat16():
    module, params, inputs, outputs = stored("swin")
    params, fbank = as_arrays((params, inputs["fbank"]), jnp.float32)
    module = module.clone(dtype=jnp.bfloat16)
    features = apply(module, params, fbank, method="features")
    keep, restore = jnp.asarray(inputs["keep_ids"]), jnp.asarray(inputs["restore_ids"])
    pred = apply(module, params, fbank, keep, restore)
    assert features.dtype == pred.dtype == jnp.bfloat16
    # 8 bits of mantissa; a temperature of 0.01 turns roundings of 0.004 into 0.4 of a score.
    assert relative_error(features.astype(jnp.float32), outputs["features"]) < 0.02
    assert relative_error(pred.astype(jnp.float32), outputs["pred"]) < 0.1


def test_position_tables_are_the_published_ones():
    module, _, _, outputs = stored("vit")
    for name, dim in (("pos_embed", module.embed_dim), ("decoder_pos_embed", module.decoder_dim)):
        table = sincos_table(dim, module.grid).astype(np.float32)
        np.testing.assert_array_equal(table, outputs[name])
        np.testing.assert_array_equal(initial_params()[name], outputs[name])
    published = sincos_table(768, (64, 8))[0, 1:]
    assert len(np.unique(published.round(6), axis=0)) == 512  # swapped, but each place its own


FRESH = cases.module("swin", depth=1)
KEY = jax.random.key(1, impl="rbg")  # compiles faster


@functools.cache
def initial_params():
    return jax.jit(FRESH.init)(KEY, jnp.zeros((1, *FRESH.img_size)))["params"]


def test_initial_weights():
    params = initial_params()
    kernel = np.asarray(params["blocks_0"]["mlp"]["fc1"]["kernel"])  # Xavier: |w| <= sqrt(6 / fans)
    limit = np.sqrt(6 / sum(kernel.shape))
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    patch = np.asarray(params["patch_embed"]["proj"]["kernel"])  # as a matrix of 64 x 32
    assert 0.99 * np.sqrt(6 / 96) < np.abs(patch).max() <= np.sqrt(6 / 96)
    tokens = np.concatenate([params[k].ravel() for k in ("cls_token", "mask_token")])
    assert 0.015 < tokens.std() < 0.025
    np.testing.assert_array_equal(params["decoder_blocks_1"]["attn"]["tau"], 1.0)


def test_encoder_alone():
    module, params, inputs, outputs = stored("swin")
    tensors = cases.tensors(load("audiomae_swin")[0])
    encoder = module.clone(decoder=None)
    alone = rules.convert(tensors, conversion.ENCODER, cases.expected(encoder), network="AudioMAE")
    assert set(alone) < set(params)
    alone, fbank = as_arrays((alone, inputs["fbank"]), jnp.float32)
    assert (
        relative_error(apply(encoder, alone, fbank, method="features"), outputs["features"]) < 1e-5
    )


# What must not matter


@pytest.mark.parametrize("name", cases.CASES)
def test_order_of_kept_patches_does_not_matter(name):
    module, params, inputs, _ = stored(name)
    params, fbank = as_arrays((params, inputs["fbank"]), jnp.float32)
    keep, restore = inputs["keep_ids"], inputs["restore_ids"]
    order = np.arange(keep.shape[1])[::-1]
    moved = np.where(restore < len(order), order[np.minimum(restore, len(order) - 1)], restore)
    latent = apply(module, params, fbank, jnp.asarray(keep), method="encode")
    reordered = apply(module, params, fbank, jnp.asarray(keep[:, order]), method="encode")
    assert relative_error(reordered[:, 1:], latent[:, 1:][:, order]) < 1e-5
    pred = apply(module, params, latent, jnp.asarray(restore), method="decode")
    again = apply(module, params, reordered, jnp.asarray(moved), method="decode")
    assert relative_error(again, pred) < 1e-4


def test_hidden_patches_are_not_seen():
    module, params, inputs, outputs = stored("swin")
    params, mask = as_arrays((params, inputs["mask"]), jnp.float32)
    patches = patchify(jnp.asarray(inputs["fbank"], jnp.float32), module.patch_size)
    noise = jnp.asarray(random_array("other", patches.shape), jnp.float32)
    fbank = unpatchify(patches + 9 * noise * mask[:, :, None], module.img_size[1])
    keep, restore = jnp.asarray(inputs["keep_ids"]), jnp.asarray(inputs["restore_ids"])
    assert relative_error(apply(module, params, fbank, keep, restore), outputs["pred"]) < 1e-4


def test_all_patches_in_order_is_no_masking():
    module, params, inputs, _ = stored("vit")
    params, fbank = as_arrays((params, inputs["fbank"]), jnp.float32)
    everything = jnp.tile(jnp.arange(module.grid[0] * module.grid[1])[None], (len(fbank), 1))
    unmasked = apply(module, params, fbank)
    assert relative_error(apply(module, params, fbank, everything, everything), unmasked) < 1e-6


def test_gradients():
    # Of the reconstruction loss at initialisation, where the hidden windows hold equal tokens.
    fbank = jnp.asarray(random_array("fbank", (2, *FRESH.img_size)), jnp.float32)
    masking = random_masking(jax.random.key(0), batch=2, tokens=32)

    @jax.jit
    def gradient(params):
        def loss(params):
            pred = FRESH.apply({"params": params}, fbank, masking.keep_ids, masking.restore_ids)
            return reconstruction_loss(pred, fbank, masking.mask)

        return jax.grad(loss)(params)

    sizes = jax.tree.map(lambda x: float(jnp.abs(x).max()), gradient(initial_params()))
    for name, size in rules.traverse_util.flatten_dict(sizes, sep="/").items():
        assert np.isfinite(size), name
        assert (size == 0) == (name in FIXED), name


def test_zero_vectors_have_a_gradient():
    # |q| = 0 where a bias is zero and the input as well.
    block = blocks.SwinBlock(heads=2, grid=(8, 4), shift=(2, 0))
    x = jnp.zeros((1, 32, 8))
    params = jax.jit(block.init)(KEY, x)
    slope = jax.jit(jax.grad(lambda x: block.apply(params, x).sum()))(x)
    assert np.isfinite(slope).all()


# Windows


def test_windows_only_reach_their_neighbours():
    # Windows of rows 2 to 5, 6 to 9, and 10 and 11, with which 0 and 1 share one across the seam.
    block = blocks.SwinBlock(heads=2, grid=(12, 4), shift=(2, 0))
    x = jnp.asarray(random_array("x", (1, 48, 8)), jnp.float32)
    params = jax.jit(block.init)(KEY, x)
    reach = {0: {0, 1}, 1: {0, 1}, 3: {2, 3, 4, 5}, 9: {6, 7, 8, 9}, 10: {10, 11}}
    run = jax.jit(block.apply)
    base = run(params, x)
    for row, rows in reach.items():
        changed = run(params, x.at[0, 4 * row : 4 * row + 4].add(1.0))
        moved = np.abs(changed - base)[0].reshape(12, 32).max(axis=1)
        assert set(np.flatnonzero(moved > 1e-6)) == rows, row


@pytest.mark.parametrize("grid", [(8, 4), (2, 8)])
def test_short_axes_are_one_window_and_stay(grid):
    """An axis of up to 4 patches is one window, which no shift moves."""
    x = jnp.asarray(random_array("x", (1, grid[0] * grid[1], 8)), jnp.float32)
    still = blocks.SwinBlock(heads=2, grid=grid)
    params = jax.jit(still.init)(KEY, x)
    shift = tuple(0 if g > 4 else 2 for g in grid)
    moved = blocks.SwinBlock(heads=2, grid=grid, shift=shift)
    run = [jax.jit(block.apply)(params, x) for block in (still, moved)]
    np.testing.assert_array_equal(*run)


def test_offsets():
    offsets = blocks.relative_offsets((4, 4))
    place = [(t, f) for t in range(4) for f in range(4)]
    for i, (t, f) in enumerate(place):
        for j, (u, g) in enumerate(place):
            want = [np.sign(d) * np.log(1 + abs(d)) for d in (t - u, f - g)]
            np.testing.assert_allclose(offsets[i, j], want, rtol=1e-15)


def test_dropout_of_the_position_bias():
    meta = blocks.Mlp(384, 3, jax.nn.relu, blocks.META_DROPOUT)
    x = jnp.asarray(random_array("x", (2, 2)), jnp.float32)
    params = meta.init(KEY, x)
    sure = meta.apply(params, x)

    @jax.jit
    def draw(key):
        return meta.apply(params, x, deterministic=False, rngs={"dropout": key})

    many = np.asarray(jax.vmap(draw)(jax.random.split(jax.random.key(1), 4_000)))
    error = many.std(axis=0) / np.sqrt(len(many))
    assert np.abs(many.mean(axis=0) - sure).max() < 5 * error.max()
    assert abs((many == 0).mean() - 0.1) < 0.01  # outputs dropped
    fbank = jnp.asarray(random_array("fbank", (1, *FRESH.img_size)), jnp.float32)
    variables = {"params": initial_params()}
    train = jax.jit(functools.partial(FRESH.apply, deterministic=False))
    rngs = ({"dropout": key} for key in jax.random.split(KEY))
    first, second = (train(variables, fbank, rngs=rng) for rng in rngs)
    assert relative_error(first, second) > 1e-4


def test_errors():
    with pytest.raises(ValueError, match="decoder 'mvit' is none of 'vit', 'swin', None"):
        cases.expected(cases.module("vit", decoder="mvit"))
    module = cases.module("vit")
    with pytest.raises(ValueError, match=r"fbank is \(32, 32\), this network takes \(64, 32\)"):
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 32, 32)))
    block = blocks.SwinBlock(heads=2, grid=(6, 4))
    with pytest.raises(ValueError, match="windows of 4 x 4 do not tile 6 x 4 patches"):
        jax.eval_shape(block.init, jax.random.key(0), jnp.zeros((1, 24, 8)))
