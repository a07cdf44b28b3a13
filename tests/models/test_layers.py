"""Layers that all networks share, against formulas in float64."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.models.layers import GroupNorm


@pytest.mark.parametrize("mean", [0.0, 5.0])
def test_group_norm_is_exact_to_float32_on_large_maps(mean: float) -> None:
    x = np.random.RandomState(0).standard_normal((2, 256, 16, 128)) * 2 + mean
    x = x.astype(np.float32)
    groups = x.astype(np.float64).reshape(2, 256, 16, 32, 4)
    centred = groups - groups.mean((1, 2, 4), keepdims=True)
    variance = np.square(centred).mean((1, 2, 4), keepdims=True)
    expected = (centred / np.sqrt(variance + 1e-5)).reshape(x.shape)
    params = {"scale": jnp.ones(128), "bias": jnp.zeros(128)}
    out: Any = jax.jit(GroupNorm().apply)({"params": params}, x)
    assert np.linalg.norm(out - expected) < 2e-7 * np.linalg.norm(expected)


@pytest.mark.parametrize("shape", [(3, 7, 24), (2, 5, 3, 24)])
def test_group_norm_and_its_gradients_are_flax_s(shape: tuple[int, ...]) -> None:
    with jax.enable_x64(True):
        random = np.random.RandomState(1)
        x, towards = random.standard_normal((2, *shape))
        params = {"scale": random.standard_normal(24), "bias": random.standard_normal(24)}
        results: Any = (
            jax.vjp(lambda p, x, m=module: m.apply({"params": p}, x), params, x)
            for module in (
                GroupNorm(8, 1e-3, jnp.float64),
                nn.GroupNorm(8, epsilon=1e-3, dtype=jnp.float64, use_fast_variance=False),
            )
        )
        found, expected = results
        np.testing.assert_allclose(found[0], expected[0], atol=1e-12)
        both = (jax.tree.leaves(back(towards)) for _, back in (found, expected))
        for a, b in zip(*both, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)


def test_group_norm_in_sixteen_bits_computes_in_float32() -> None:
    x = jnp.asarray(np.random.RandomState(2).standard_normal((2, 40, 16)) + 3, jnp.bfloat16)
    narrow, wide = (GroupNorm(4, 1e-5, dtype) for dtype in (jnp.bfloat16, jnp.float32))
    params = wide.init(jax.random.key(0), x)
    out: Any = narrow.apply(params, x)
    exact: Any = wide.apply(params, x)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_array_equal(out, exact.astype(jnp.bfloat16))


def test_groups_that_do_not_divide_the_channels_are_told() -> None:
    with pytest.raises(ValueError, match="30 channels cannot be divided into 8 groups"):
        GroupNorm(8).init(jax.random.key(0), jnp.zeros((4, 5, 30)))
