"""The perfect denoiser against integrals, its flow against quantiles and against a Gaussian's closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

from ldm_jax.diffusion import schedules
from ldm_jax.distill.grid import progressive_grid, uniform_grid
from ldm_jax.study.mixture import Mixture, flow, gaussian_flow, nested, network

LINE = Mixture(np.array([0.2, 0.5, 0.3]), np.array([[-1.5], [0.1], [1.2]]), 0.2)
SCHEDULE = schedules.scaled_linear()


def test_x0_is_the_posterior_mean():
    """By Bayes' rule, integrated over x0."""
    x0 = np.linspace(-4, 4, 40_001)
    prior = LINE.weights @ stats.norm(LINE.means, LINE.std).pdf(x0)
    for y, s in ((0.6, 0.3), (-2.0, 1.5), (30.0, 20.0)):
        posterior = prior * stats.norm(x0, s).pdf(y)
        expected = (x0 * posterior).sum() / posterior.sum()
        found = LINE.x0(np.array([[y]]), np.array([s]))[0, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_jax_and_numpy_agree():
    mixture = nested()
    y = 3 * np.random.RandomState(0).standard_normal((64, 4))
    s = np.geomspace(0.03, 80, 64)
    found = mixture.x0(jnp.asarray(y, jnp.float32), jnp.asarray(s, jnp.float32))
    np.testing.assert_allclose(found, mixture.x0(y, s), atol=2e-4)


@pytest.mark.parametrize("dim", [2, 5])
def test_nested_is_scaled_like_latents(dim):
    mixture = nested(dim=dim, clusters=3, within=2, seed=1)
    assert mixture.means.shape == (6, dim)
    np.testing.assert_allclose(mixture.mean, 0, atol=1e-12)
    np.testing.assert_allclose(np.trace(mixture.covariance) / dim, 1, rtol=1e-12)
    points = np.asarray(mixture.sample(jax.random.key(0), 200_000))
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=0.01)
    np.testing.assert_allclose(np.cov(points.T), mixture.covariance, atol=0.02)
    # Small clusters inside of large ones: neighbours are nearer than strangers.
    apart = np.linalg.norm(mixture.means[:, None] - mixture.means, axis=-1)
    assert apart[0, 1] < apart[0, 2:].min()


def test_the_network_is_asked_by_timesteps():
    """v = alpha eps - sigma x0, with the x0 of the exact level, between whole timesteps too."""
    mixture = nested()
    asked = network(mixture, SCHEDULE)
    for grid in (progressive_grid(SCHEDULE, 25), uniform_grid(SCHEDULE, 18)):
        index = np.arange(1, grid.steps + 1)
        alpha, sigma = grid.alpha[index, None], grid.sigma[index, None]
        z = np.random.RandomState(1).standard_normal((grid.steps, 4))
        x0 = mixture.x0(z / alpha, (sigma / alpha)[:, 0])
        v = alpha * (z - alpha * x0) / sigma - sigma * x0
        found = asked(jnp.asarray(z, jnp.float32), jnp.asarray(grid.timesteps[index], jnp.float32))
        np.testing.assert_allclose(found, v, atol=3e-4)


def test_the_flow_keeps_quantiles():
    """In one dimension, where that makes it a closed form."""
    y = np.array([[-60.0], [-1.0], [0.2], [25.0]])

    def distribution(at, s):
        return LINE.weights @ stats.norm(LINE.means[:, 0], np.hypot(LINE.std, s)).cdf(at)

    def expected(at, here, there):
        quantile = distribution(at, here)
        return optimize.brentq(lambda x: distribution(x, there) - quantile, -9, 9)

    for here, there in ((40.0, 0.5), (40.0, 0.0), (0.4, 0.3)):
        scaled = y if here > 1 else y / 60
        found = flow(LINE, scaled, np.full(4, here), np.full(4, there))
        wanted = [expected(at, here, there) for at in scaled[:, 0]]
        np.testing.assert_allclose(found[:, 0], wanted, atol=1e-5)


def test_points_flow_each_over_its_own_way():
    y = np.random.RandomState(2).standard_normal((3, 4))
    mixture, here, there = nested(), np.array([40.0, 3.0, 0.5]), np.array([2.0, 0.0, 0.4])
    together = flow(mixture, y, here, there, longest=0.02)
    for i in range(3):
        alone = flow(mixture, y[[i]], here[[i]], there[[i]], longest=0.02)
        np.testing.assert_allclose(together[[i]], alone, atol=1e-6)
    np.testing.assert_array_equal(flow(mixture, y, here, here), y)


def test_the_flow_of_one_component_is_a_gaussians():
    one = Mixture(np.ones(1), np.array([[0.5, -1.0]]), 0.3)
    y = 20 * np.random.RandomState(3).standard_normal((5, 2))
    exact = one.means + (y - one.means) * 0.3 / np.hypot(0.3, 20)
    np.testing.assert_allclose(flow(one, y, np.full(5, 20.0), np.zeros(5)), exact, atol=5e-6)
    np.testing.assert_allclose(gaussian_flow(one, y, 20.0), exact, rtol=1e-12)


def test_the_gaussian_flow_gives_the_first_two_moments():
    mixture = nested(dim=3)
    eps = np.random.RandomState(4).standard_normal((200_000, 3))
    points = np.random.RandomState(5).multivariate_normal(
        mixture.mean, mixture.covariance, len(eps)
    )
    made = gaussian_flow(mixture, points + 2.0 * eps, 2.0)
    np.testing.assert_allclose(np.cov(made.T), mixture.covariance, atol=0.02)
