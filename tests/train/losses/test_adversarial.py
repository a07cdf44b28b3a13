"""Losses of discriminators, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.train.losses.adversarial import (
    feature_distance,
    hinge,
    least_squares,
    least_squares_of_fakes,
    logistic,
    score_loss,
)
from ldm_jax.train.losses.vae import (
    CELL_LOSSES,
    adaptive_weight,
    gaussian_kl,
    negative_log_likelihood,
    with_gradient,
)

REAL, FAKE = jnp.asarray([[2.0, 0.5], [-1.0, 1.0]]), jnp.asarray([[-3.0, -0.5], [0.0, 2.0]])


def test_of_scores():
    assert float(hinge(real=REAL, fake=FAKE)) == pytest.approx((2.5 + 4.5) / 8)
    expected = (np.log1p(np.exp(-np.asarray(REAL))) + np.log1p(np.exp(np.asarray(FAKE)))).mean() / 2
    assert float(logistic(real=REAL, fake=FAKE)) == pytest.approx(expected)
    assert float(score_loss(FAKE)) == pytest.approx(0.375)
    squares = (1 + 0.25 + 4 + 0) / 4 + (9 + 0.25 + 0 + 4) / 4
    both = least_squares(real=[REAL, jnp.ones(3)], fake=[FAKE, jnp.ones(1)])
    assert float(both) == pytest.approx(squares + 1)
    fooling = least_squares_of_fakes([FAKE, jnp.zeros(2)])
    assert float(fooling) == pytest.approx((16 + 2.25 + 1 + 1) / 4 + 1)
    features = feature_distance(real=[REAL, jnp.ones((2, 3, 4))], fake=[FAKE, jnp.zeros((2, 3, 4))])
    assert float(features) == pytest.approx((5 + 1 + 1 + 1) / 4 + 1)


def test_divergence_of_gaussians():
    """0 where the latents are a standard normal; else 1/2 (mu^2 + s^2 - 1 - ln s^2) a number."""
    zeros = jnp.zeros((2, 3, 4, 5))
    np.testing.assert_allclose(gaussian_kl(zeros, zeros), 0.0)
    logvar = jnp.log(jnp.full_like(zeros, 0.25))
    expected = 0.5 * (9 + 0.25 - 1 - np.log(0.25))
    np.testing.assert_allclose(gaussian_kl(zeros + 3, logvar), expected, rtol=1e-6)


def test_likelihood_of_closed_forms():
    x, y = jnp.ones((2, 3, 4, 1)), jnp.zeros((2, 3, 4, 1)) - 1
    for name, distance in (("l1", 2.0), ("l2", 4.0)):
        distances = CELL_LOSSES[name](x, y)
        loss = negative_log_likelihood(distances, jnp.asarray([0.5, 1.5]), logvar=0.5)
        assert float(loss) == pytest.approx(12 * ((distance + 1) * np.exp(-0.5) + 0.5), rel=1e-6)


def test_adaptive_weight():
    likelihood, score = jnp.full((3, 4), 2.0), jnp.full((3, 4), 0.5)
    assert float(adaptive_weight(likelihood, score)) == pytest.approx(4, rel=1e-3)
    assert float(adaptive_weight(likelihood, 0 * score)) == 1e4
    assert float(adaptive_weight(0 * likelihood, score)) == 0
    slope = jax.grad(lambda x: adaptive_weight(x, score))(likelihood)
    np.testing.assert_array_equal(slope, 0)


def test_a_known_gradient_is_not_computed():
    def loss(scale):
        x = scale * jnp.arange(3.0)
        return 5.0 * with_gradient((x**2).sum(), x, jnp.asarray([7.0, 8.0, 9.0]))

    value, slope = jax.value_and_grad(loss)(2.0)
    assert float(value) == 5 * 20
    assert float(slope) == 5 * (8 + 18)
