"""Distances against their formulas in NumPy, and what must hold at their ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.distill import distances

RANDOM = np.random.RandomState(0)
OUTPUT, TARGET = RANDOM.standard_normal((2, 3, 5, 4, 2))
SIZE = OUTPUT[0].size


def of_one(output, target, name, c):
    """Of one clip, as the papers and diffusers write them."""
    missed = (output - target).ravel()
    match name:
        case "squared":
            return np.mean(missed**2)
        case "l1":
            return np.mean(np.abs(missed))
        case "pseudo_huber":  # iCT's, over sqrt(d)
            c = c * np.sqrt(missed.size)
            return (np.sqrt(np.sum(missed**2) + c**2) - c) / np.sqrt(missed.size)
        case "huber":
            return np.mean(np.sqrt(missed**2 + c**2) - c)
    raise ValueError(name)


@pytest.mark.parametrize(
    ("word", "c"),
    [
        ("squared", None),
        ("l1", None),
        ("pseudo_huber", 0.00054),
        ("pseudo_huber:c=0.3", 0.3),
        ("huber", 0.001),
        ("huber:c=2", 2.0),
    ],
)
def test_formulas(word, c):
    """Each clip by itself, in float64."""
    expected = [of_one(*pair, word.split(":")[0], c) for pair in zip(OUTPUT, TARGET, strict=True)]
    with jax.enable_x64(True):
        ours = distances.distance(word)(jnp.asarray(OUTPUT), jnp.asarray(TARGET))
        np.testing.assert_allclose(ours, expected, rtol=1e-12)


@pytest.mark.parametrize("name", distances.DISTANCES)
def test_equal_inputs(name):
    """Distance and gradient are exactly 0, where a root's would be NaN."""
    x = jnp.asarray(TARGET, jnp.float32)
    value, gradient = jax.value_and_grad(lambda y: distances.distance(name)(y, x).sum())(x)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("name", ["pseudo_huber", "huber"])
def test_small_errors_are_not_rounded_away(name):
    """An error of 1e-5 beside c = 0.5: x^2 / (2 c) is 1e-10, far below the rounding of sqrt(x^2 + c^2) - c."""
    target = jnp.zeros((2, 8), jnp.float32)
    ours = distances.distance(name, c=0.5)(target + 1e-5, target)
    np.testing.assert_allclose(ours, 1e-10, rtol=1e-5)


@pytest.mark.parametrize("name", distances.DISTANCES)
def test_half_precision_is_compared_in_float32(name):
    output, target = (jnp.asarray(x, jnp.bfloat16) for x in (OUTPUT, TARGET))
    ours = distances.distance(name)(output, target)
    precise = distances.distance(name)(output.astype(jnp.float32), target.astype(jnp.float32))
    assert ours.dtype == jnp.float32
    np.testing.assert_array_equal(ours, precise)


def test_pseudo_huber_does_not_depend_on_the_length():
    """A clip twice as long, of the same errors, weighs the same."""
    output, target = (jnp.asarray(x, jnp.float32) for x in (OUTPUT, TARGET))
    longer = [jnp.concatenate([x, x], axis=1) for x in (output, target)]
    np.testing.assert_allclose(
        distances.pseudo_huber(*longer), distances.pseudo_huber(output, target), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("lpips", "The distance must be one of squared, l1, pseudo_huber, huber, but got 'lpips'"),
        ("squared:c=1", "has no options, but got c=1"),
        ("pseudo_huber:c=0", "must be above 0, but got 0"),
        ("huber:c=-1", "must be above 0, but got -1"),
        ("huber:c=nan", "must be above 0, but got nan"),
        ("huber:c=large", "takes a number for c, but got 'large'"),
    ],
)
def test_what_is_refused(word, message):
    with pytest.raises(ValueError, match=message):
        distances.distance(word)
