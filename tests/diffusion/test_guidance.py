"""Classifier-free guidance."""

import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.diffusion import guidance
from tests.golden import random_array

SHAPE = (3, 4, 5)
U, C = (random_array(name, SHAPE).astype(np.float32) for name in ("u", "c"))


def test_scales():
    ours = guidance.classifier_free(jnp.asarray(U), jnp.asarray(C), 3.5)
    np.testing.assert_allclose(ours, U + np.float32(3.5) * (C - U), rtol=1e-6)
    np.testing.assert_array_equal(guidance.classifier_free(jnp.asarray(U), jnp.asarray(C), 0), U)


def test_one_scale_a_clip():
    scales = jnp.array([0.0, 2.5, -1.0])
    ours = guidance.classifier_free(jnp.asarray(U), jnp.asarray(C), scales)
    for clip, scale in enumerate(scales):
        alone = guidance.classifier_free(jnp.asarray(U[clip]), jnp.asarray(C[clip]), float(scale))
        np.testing.assert_allclose(ours[clip], alone, rtol=1e-6)


def test_half_precision_is_combined_in_float32():
    u, c = (jnp.asarray(x, jnp.bfloat16) for x in (U, C))
    ours = guidance.classifier_free(u, c, 7.5)
    exact = np.asarray(u, np.float32) + 7.5 * (
        np.asarray(c, np.float32) - np.asarray(u, np.float32)
    )
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours, exact, rtol=1e-5)


@pytest.mark.parametrize("strength", [1.0, jnp.array([1.0, 1.0, 1.0])])
def test_rescaled_fully_has_the_conditional_deviation(strength):
    guided = 5 * jnp.asarray(U)
    ours = guidance.rescale(guided, jnp.asarray(C), strength)
    np.testing.assert_allclose(np.std(ours, (1, 2)), np.std(C, (1, 2)), rtol=1e-5)
    np.testing.assert_allclose(ours / guided, (ours / guided)[:, :1, :1] + 0 * ours, rtol=1e-5)


def test_rescaling_is_a_blend():
    guided, conditional = 5 * jnp.asarray(U), jnp.asarray(C)
    full = guidance.rescale(guided, conditional, 1.0)
    ours = guidance.rescale(guided, conditional, jnp.array([0.0, 0.7, 1.0]))
    np.testing.assert_allclose(ours[0], guided[0], rtol=1e-6)
    np.testing.assert_allclose(ours[1], 0.7 * full[1] + 0.3 * guided[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours[2], full[2], rtol=1e-6)
