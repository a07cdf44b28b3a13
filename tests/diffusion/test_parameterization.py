"""Conversions between predictions: definitions, inverses, per-clip levels."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.diffusion import guidance, parameterization, schedules
from tests.golden import random_array

SHAPE = (4, 3, 2)
ALPHA, SIGMA = (
    x[[0, 300, 700, 999]]
    for x in (schedules.scaled_linear().alpha, schedules.scaled_linear().sigma)
)


def truth() -> dict[str, np.ndarray]:
    """x0 and eps drawn at random, z and v by definition."""
    x0, eps = random_array("x0", SHAPE), random_array("eps", SHAPE)
    a, s = ALPHA[:, None, None], SIGMA[:, None, None]
    return {"x0": x0, "eps": eps, "v": a * eps - s * x0, "z": a * x0 + s * eps}


@pytest.mark.parametrize(("source", "target"), [*itertools.product(("eps", "x0", "v"), repeat=2)])
def test_definitions(source, target):
    known = truth()
    with jax.enable_x64(True):
        ours = parameterization.convert(
            jnp.asarray(known[source]),
            jnp.asarray(known["z"]),
            source=source,
            target=target,
            alpha=ALPHA,
            sigma=SIGMA,
        )
        z = parameterization.add_noise(
            jnp.asarray(known["x0"]), jnp.asarray(known["eps"]), alpha=ALPHA, sigma=SIGMA
        )
    np.testing.assert_allclose(ours, known[target], rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(z, known["z"], rtol=1e-14)


@pytest.mark.parametrize(("source", "target"), [*itertools.permutations(("eps", "x0", "v"), 2)])
def test_inverses(source, target):
    """There and back for any output, not only a consistent one; with one level for all clips."""
    output, z = random_array("output", SHAPE), random_array("z", SHAPE)
    with jax.enable_x64(True):
        there = parameterization.convert(
            jnp.asarray(output), jnp.asarray(z), source=source, target=target, alpha=0.6, sigma=0.8
        )
        back = parameterization.convert(
            there, jnp.asarray(z), source=target, target=source, alpha=0.6, sigma=0.8
        )
    np.testing.assert_allclose(back, output, rtol=1e-13, atol=1e-14)
    assert np.abs(np.asarray(there) - output).max() > 0.1


@pytest.mark.parametrize("target", ["eps", "x0", "v"])
def test_v_at_the_ends(target):
    """v is defined at pure noise, where it is -x0, and at clean data, where it is eps."""
    v, z = jnp.ones((2, 3)), 2 * jnp.ones((2, 3))
    ours = parameterization.convert(
        v, z, source="v", target=target, alpha=jnp.array([0.0, 1.0]), sigma=jnp.array([1.0, 0.0])
    )
    expected = {"eps": [2.0, 1.0], "x0": [-1.0, 2.0], "v": [1.0, 1.0]}[target]
    np.testing.assert_array_equal(ours[:, 0], expected)


@pytest.mark.parametrize(("source", "target"), [("score", "eps"), ("eps", "score")])
def test_unknown_predictions(source, target):
    with pytest.raises(ValueError, match="prediction must be one of eps, x0, v, but got 'score'"):
        parameterization.convert(
            jnp.ones((1,)), jnp.ones((1,)), source=source, target=target, alpha=1.0, sigma=1.0
        )


@pytest.mark.parametrize("kind", ["eps", "x0", "v"])
def test_guidance_commutes_with_conversion(kind):
    """Guiding eps, x0 or v gives one and the same guided prediction."""
    with jax.enable_x64(True):
        z, u, c = (jnp.asarray(random_array(name, SHAPE)) for name in ("z", "u", "c"))
        w = jnp.array([0.0, 1.0, 3.5, 7.0])

        def as_kind(eps, source="eps", target=kind):
            return parameterization.convert(
                eps, z, source=source, target=target, alpha=ALPHA, sigma=SIGMA
            )

        guided = guidance.classifier_free(as_kind(u), as_kind(c), w)
        expected = guidance.classifier_free(u, c, w)
        np.testing.assert_allclose(as_kind(guided, kind, "eps"), expected, rtol=1e-9, atol=1e-9)
