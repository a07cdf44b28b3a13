"""Transformed filters against the plain convolution."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.models.prepared_filters import convolve, prepare
from tests.golden import random_array, relative_error

run = jax.jit(convolve)


def prepared(kernel: np.ndarray, width: int) -> jax.Array:
    return jax.jit(functools.partial(prepare, width=width))(jnp.asarray(kernel))


def plain(x, kernel) -> np.ndarray:
    """By its definition, in float64: nine shifted products."""
    height, width = x.shape[1:3]
    around = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(
        around[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3)
    )


def arrays(time: int, width: int, features: tuple[int, int], batch: int = 2):
    name = f"{time}x{width}"
    return random_array(name, (batch, time, width, features[0])), random_array(
        name, (3, 3, *features)
    )


@pytest.mark.parametrize("time", [1, 9])
@pytest.mark.parametrize(
    ("width", "points"),
    [
        (1, (3, 3)),
        (2, (4, 3)),
        (3, (4, 4)),
        (9, (6, 4)),
        (33, (6, 3)),
    ],
)
def test_is_the_convolution(time, width, points):
    x, kernel = arrays(time, width, (32, 40))
    with jax.enable_x64(True):
        filters = prepared(kernel, width)
        assert filters.shape[:2] == points
        assert relative_error(run(jnp.asarray(x), filters), plain(x, kernel)) < 1e-13


@pytest.mark.parametrize("width", [2, 4, 16, 64])
def test_rounding(width):
    """Of many products summed, about 1e-6, where the direct one has 3e-7."""
    x, kernel = (a.astype(np.float32) for a in arrays(20, width, (128, 64)))
    exact = plain(*(a.astype(np.float64) for a in (x, kernel)))
    assert relative_error(run(jnp.asarray(x), prepared(kernel, width)), exact) < 3e-6


def test_products_of_all_points_together():
    """Many features are multiplied in one call."""
    x, kernel = arrays(3, 4, (32, 1024), batch=1)
    with jax.enable_x64(True):
        ours = run(jnp.asarray(x), prepared(kernel, 4))
    assert relative_error(ours, plain(x, kernel)) < 1e-13


@pytest.mark.parametrize(("dtype", "features"), [("bfloat16", (32, 32)), ("float32", (16, 32))])
def test_kernels_that_stay(dtype, features):
    kernel = jnp.asarray(arrays(1, 4, features)[1], dtype)
    assert prepare(kernel, width=4) is kernel


@pytest.mark.parametrize("width", [2, 4, 16, 64])
def test_batch_changes_no_row(width):
    x, kernel = (a.astype(np.float32) for a in arrays(13, width, (64, 96), batch=7))
    filters = prepared(kernel, width)
    whole = np.asarray(run(jnp.asarray(x), filters))
    np.testing.assert_array_equal(run(jnp.asarray(x[:1]), filters), whole[:1])


def test_another_width():
    filters = prepare(jnp.zeros((3, 3, 32, 32)), width=2)
    with pytest.raises(ValueError, match=r"width of 2, but x is \(1, 5, 4, 32\)"):
        convolve(jnp.zeros((1, 5, 4, 32)), filters)
