"""What training adds to CLAP's towers: chance in its places, and the batch's own norm."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.models.attention import attend
from ldm_jax.models.htsat import HTSAT, BatchNorm, moved_statistics
from ldm_jax.models.swin import Block
from tests import cases_clap_training as cases
from tests.golden import random_array

KEY = jax.random.key(1)


def normal(name, *shape):
    return jnp.asarray(random_array(name, shape), jnp.float32)


def test_drop_path_leaves_out_whole_summands():
    """Each row is x + a / (1 - p) + b / (1 - p), less what was drawn to be left out; half of each with p = 0.5."""
    block = Block(2, 4, 0, 2.0, True, 1e-5, drop_path=0.5)
    x = jnp.broadcast_to(normal("x", 1, 4, 4, 8), (600, 4, 4, 8))
    params = block.init(KEY, x[:1])
    run = jax.jit(functools.partial(block.apply, params))
    a = _branch(params, x[:1], "attention")
    cases_of = {}
    for first in (0, 2):
        middle = x[:1] + first * a
        b = _branch(params, middle, "perceptron")
        cases_of |= {(first, second): np.asarray(middle + second * b)[0] for second in (0, 2)}
    np.testing.assert_allclose(
        run(x[:1]), x[:1] + a + _branch(params, x[:1] + a, "perceptron"), atol=1e-5
    )
    out = np.asarray(
        jax.jit(functools.partial(block.apply, deterministic=False))(
            params, x, rngs={"dropout": KEY}
        )
    )
    near = np.stack([np.abs(out - case).max(axis=(1, 2, 3)) for case in cases_of.values()])
    assert near.min(axis=0).max() < 1e-5
    assert np.partition(near, 1, axis=0)[1].min() > 1e-2
    counts = np.bincount(near.argmin(axis=0), minlength=4)
    assert np.abs(counts / 600 - 0.25).max() < 4.5 * np.sqrt(3 / 16 / 600)


def _branch(params, x, which):
    """What one summand is, by silencing the other."""
    name = ("attention", "output", "dense") if which == "perceptron" else ("output", "dense")
    silent = jax.tree.map(lambda leaf: leaf, params)
    place = silent["params"]
    for part in name:
        place = place[part]
    for leaf in list(place):
        place[leaf] = jnp.zeros_like(place[leaf])
    return jax.jit(Block(2, 4, 0, 2.0, True, 1e-5).apply)(silent, x) - x


def test_rates_rise_to_the_last_block(monkeypatch):
    seen = []
    original = Block.__call__

    def spy(self, x, *, deterministic=True):
        seen.append((self.drop_path, deterministic))
        return original(self, x, deterministic=deterministic)

    monkeypatch.setattr(Block, "__call__", spy)
    tower = cases.NETWORK.audio.clone(drop_path=0.1)
    rngs = {"params": KEY, "dropout": KEY}
    jax.eval_shape(
        functools.partial(tower.init, deterministic=False),
        rngs,
        normal("x", 1, cases.FRAMES, cases.MELS),
    )
    assert [rate for rate, _ in seen] == pytest.approx([0.0, 0.05, 0.1])
    assert not any(deterministic for _, deterministic in seen)


def test_attention_dropout_is_right_on_average():
    query, key, value = (normal(name, 1, 5, 2, 4) for name in ("q", "k", "v"))
    mask = jnp.array([True, True, True, True, False])[None, None, None, :]
    sure = attend(query, key, value, mask=mask)
    same = attend(query, key, value, mask=mask, drop=lambda x: x)
    np.testing.assert_allclose(same, sure, atol=1e-6)

    @jax.jit
    @jax.vmap
    def draw(key_of):
        def drop(weights):
            assert weights.shape == (1, 2, 5, 5)
            return jnp.where(jax.random.bernoulli(key_of, 0.7, weights.shape), weights / 0.7, 0.0)

        return attend(query, key, value, mask=mask, drop=drop)

    many = np.asarray(draw(jax.random.split(KEY, 8_000)))
    error = many.std(axis=0) / np.sqrt(len(many))
    assert (np.abs(many.mean(axis=0) - sure) < 5 * error).all()


def test_norm_by_the_batch():
    """Mean 0 and variance 1 of every band; statistics in use have no gradient, those of the batch do."""
    x = 3 * normal("x", 4, 1, 50, 6) + jnp.arange(6.0)[None, None, None, :]
    norm = BatchNorm()
    params = norm.init(KEY, x)
    out = norm.apply(params, x, by_batch=True)
    np.testing.assert_allclose(out.mean((0, 1, 2)), np.zeros(6), atol=1e-5)
    np.testing.assert_allclose(out.var((0, 1, 2)), np.ones(6), rtol=1e-4)
    slopes = jax.grad(lambda p: (norm.apply(p, x) ** 2).sum())(params)["params"]
    assert not slopes["running_mean"].any()
    assert not slopes["running_var"].any()
    assert slopes["scale"].all()
    # the sum over a normalised batch cannot be changed by its input
    slope = jax.grad(lambda x: norm.apply(params, x, by_batch=True).sum())(x)
    np.testing.assert_allclose(slope, np.zeros_like(x), atol=1e-4)


def test_running_statistics_of_one_number():
    """With no second number there is no unbiased variance; PyTorch refuses, here it is 0."""
    running = {"running_mean": jnp.ones(2), "running_var": jnp.ones(2)}
    moved = moved_statistics(running, jnp.full((1, 2), 3.0), momentum=0.25)
    np.testing.assert_allclose(moved["running_mean"], [1.5, 1.5])
    np.testing.assert_allclose(moved["running_var"], [0.75, 0.75])


def test_hidden_places_are_zero_after_the_norm():
    """What is hidden changes nothing, whatever it is."""
    tower = cases.SMALLEST.audio
    x = normal("x", 2, cases.FRAMES, cases.MELS)
    params = jax.jit(tower.init)(KEY, x)
    kept = jnp.asarray(cases.kept(2))
    run = jax.jit(tower.apply)
    other = jnp.where(kept, x, 7.0)
    np.testing.assert_array_equal(run(params, x, kept=kept), run(params, other, kept=kept))
    assert np.abs(run(params, x) - run(params, other)).max() > 1e-3
    assert np.abs(run(params, x) - run(params, x, kept=kept)).max() > 1e-3


def test_fusion_is_not_trained():
    tower = HTSAT(fusion=True)
    features = jax.ShapeDtypeStruct((1, 4, 1001, 64), jnp.float32)
    longer = jax.ShapeDtypeStruct((1,), bool)
    with pytest.raises(ValueError, match="with fusion runs as published, but cannot be trained"):
        jax.eval_shape(functools.partial(tower.init, by_batch=True), KEY, features, longer)


def test_new_parameters_have_gradients_of_reason_where_a_recording_has_no_sound():
    """The upper half of the bands is at the floor in every clip, as of recordings at half the rate."""
    tower = HTSAT(
        embed_dim=8,
        depths=(1, 1, 1),
        num_heads=(1, 2, 4),
        window=4,
        image_size=64,
        num_mels=16,
    )
    features = np.full((2, 200, 16), -100.0, np.float32)
    features[..., :8] = -40 + 10 * random_array("features", (2, 200, 8))
    told = random_array("told", (2, tower.out_features)).astype(np.float32)
    params = tower.init(jax.random.key(0), jnp.asarray(features))["params"]

    @jax.jit
    def gradient(params):
        return jax.grad(
            lambda params: (
                tower.apply({"params": params}, jnp.asarray(features), by_batch=True) * told
            ).sum()
        )(params)

    norm = np.sqrt(sum((np.asarray(x) ** 2).sum() for x in jax.tree.leaves(gradient(params))))
    assert norm < 1e4  # with biases of 0 it is 3e6
