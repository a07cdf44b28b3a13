"""Noise schedules against published values and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.diffusion import schedules


def test_audioldm2():
    """The values of the fact sheet, from the official code."""
    schedule = schedules.scaled_linear()
    published = {0: 0.9985, 1: 0.996994, 500: 0.114922, 996: 1.50951e-4, 999: 1.42304e-4}
    ours = [schedule.alphas_cumprod[t] for t in published]
    np.testing.assert_allclose(ours, list(published.values()), rtol=5e-6)
    np.testing.assert_allclose(schedule.edm_sigma[-1], 83.8, atol=0.05)


def test_tango():
    """Stable Diffusion's ends of the same schedule: SNR 1175.5 .. 0.004682, 5 at 146, 1 at 354."""
    schedule = schedules.scaled_linear(beta_start=0.00085, beta_end=0.012)
    snr = np.exp(schedule.log_snr)
    np.testing.assert_allclose([snr[0], snr[999]], [1175.5, 0.004682], rtol=1e-4)
    nearest = [int(np.argmin(np.abs(np.log(snr / value)))) for value in (5, 1)]
    assert nearest == [146, 354]


@pytest.mark.parametrize("name", schedules.SCHEDULES)
def test_what_is_derived(name):
    schedule = schedules.schedule(name, train_steps=100)
    assert schedule.train_steps == 100
    np.testing.assert_allclose(schedule.alpha**2 + schedule.sigma**2, 1, rtol=1e-14)
    np.testing.assert_allclose(schedule.log_snr, -2 * np.log(schedule.edm_sigma), rtol=1e-9)
    assert (np.diff(schedule.edm_sigma) > 0).all()
    assert schedule.alphas_cumprod.dtype == np.float64
    alpha, sigma = jax.jit(schedule.at)(jnp.array([[0, 99], [50, 3]]))
    assert alpha.dtype == sigma.dtype == jnp.float32
    np.testing.assert_allclose(alpha, schedule.alpha[[[0, 99], [50, 3]]], rtol=1e-7)
    np.testing.assert_allclose(sigma, schedule.sigma[[[0, 99], [50, 3]]], rtol=1e-7)


def test_linear():
    """DDPM's: log alphas_cumprod = sum log(1 - beta), beta from 1e-4 to 0.02."""
    ours = schedules.linear()
    np.testing.assert_allclose(ours.alphas_cumprod[0], 1 - 1e-4, rtol=1e-14)
    ratio = ours.alphas_cumprod[1:] / ours.alphas_cumprod[:-1]
    np.testing.assert_allclose(np.diff(1 - ratio), (0.02 - 1e-4) / 999, rtol=1e-8)


def test_cosine():
    """The products telescope to cos^2 until beta is held."""
    ours = schedules.cosine()
    u = np.arange(1, 999) / 1000
    square = np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(ours.alphas_cumprod[:998], square, rtol=1e-10)
    assert 1 - ours.alphas_cumprod[999] / ours.alphas_cumprod[998] == pytest.approx(0.999)


def test_zero_terminal_snr():
    original = schedules.scaled_linear()
    ours = schedules.rescale_zero_terminal_snr(original)
    assert ours.alpha[-1] == 0
    assert ours.sigma[-1] == 1
    assert ours.log_snr[-1] == -np.inf
    assert np.isfinite(ours.edm_sigma).all()
    np.testing.assert_allclose(ours.alpha[0], original.alpha[0], rtol=1e-15)
    # Affine in alpha: second differences keep their proportion.
    bend = np.diff(ours.alpha, 2) / np.diff(original.alpha, 2)
    np.testing.assert_allclose(bend, bend[0], rtol=1e-6)


def test_continuous_cosine():
    t = jnp.linspace(0.01, 0.99, 9)
    alpha, sigma = schedules.continuous_cosine(t)
    np.testing.assert_allclose(alpha**2 + sigma**2, 1, rtol=1e-6)
    np.testing.assert_allclose(sigma / alpha, np.tan(np.pi / 2 * np.asarray(t)), rtol=1e-5)
    wide = schedules.cosine_log_snr(t, log_snr_min=-60.0, log_snr_max=60.0)
    np.testing.assert_allclose(wide, 2 * jnp.log(alpha / sigma), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(schedules.alpha_sigma(wide), (alpha, sigma), rtol=1e-5)


def test_cosine_log_snr_keeps_its_bounds():
    """Salimans and Ho's defaults, -20 to 20."""
    ours = schedules.cosine_log_snr(jnp.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(ours, [20, 0, -20], atol=2e-2)


def test_unknown_schedule():
    with pytest.raises(ValueError, match="one of scaled_linear, linear, cosine, but got 'sigmoid'"):
        schedules.schedule("sigmoid")
