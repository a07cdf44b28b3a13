"""Resampling inside a program: against the function for NumPy, the formula as a matrix, and its own transpose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.audio import polyphase
from ldm_jax.audio.sinc_resampling import KAISER_BEST, sinc_resample
from tests.audio.test_sinc_resampling import RATES, directly
from tests.golden import random_array, relative_error

RATES = [rates for rates in [(16_000, 48_000), *RATES] if rates[0] != 11_127]


@pytest.mark.parametrize(
    ("rate", "target", "settings"),
    [*((*rates, KAISER_BEST) for rates in RATES), (16_000, 48_000, {})],
)
def test_compiled_equals_numpy(rate, target, settings):
    """A batch, and its rows; also the lengths at which the last outputs lie beyond the last whole step."""
    compiled = jax.jit(lambda x: sinc_resample(x, rate, target, **settings))
    for samples in (1, 1_003):
        wave = random_array("wave", (2, 3, samples))
        ours = sinc_resample(wave, rate, target, **settings)
        assert ours.shape == (2, 3, -(-samples * target // rate))
        np.testing.assert_array_equal(
            ours[1, 2], sinc_resample(wave[1, 2], rate, target, **settings)
        )
        with jax.enable_x64(True):
            assert relative_error(compiled(wave), ours) < 1e-12
        narrow = compiled(wave.astype(np.float32))
        assert narrow.dtype == np.float32
        assert relative_error(narrow, ours) < 1e-6
    half = compiled(jnp.asarray(wave, jnp.bfloat16))
    assert half.dtype == np.float32
    assert relative_error(half, ours) < 5e-3


@pytest.mark.parametrize(("rate", "target"), [RATES[0], RATES[1], RATES[-1]])
def test_gradient_is_the_transpose(rate, target):
    """y^T A by the formula's matrix A, and <A x, y> = <x, A^T y> of the program alone."""
    x, samples = random_array("x", (300,)), -(-300 * target // rate)
    y = random_array("y", (samples,))
    matrix = directly(np.eye(300), rate, target, **KAISER_BEST)
    with jax.enable_x64(True):
        resampled, transpose = jax.vjp(
            lambda wave: sinc_resample(wave, rate, target, **KAISER_BEST), jnp.asarray(x)
        )
        (back,) = transpose(jnp.asarray(y))
        np.testing.assert_allclose(resampled @ y, x @ back, rtol=1e-12)
    assert relative_error(back, y @ matrix) < 5e-5  # torchaudio's phases in float32


def test_a_tone_is_a_tone():
    """16 to 48 kHz below the cutoff: gain 1 and no delay, to the stop band's 1e-7; above it nothing is left."""
    rate, target = 16_000, 48_000
    inner = slice(target // 10, -target // 10)
    with jax.enable_x64(True):
        for frequency in (100, 3_000, 7_000):
            wave = np.sin(2 * np.pi * frequency * np.arange(rate) / rate)
            tone = np.sin(2 * np.pi * frequency * np.arange(target) / target)
            ours = np.asarray(sinc_resample(jnp.asarray(wave), rate, target, **KAISER_BEST))
            np.testing.assert_allclose(ours[inner], tone[inner], atol=2e-6)
        high = np.sin(2 * np.pi * 9_000 * np.arange(target) / target)
        gone = np.asarray(sinc_resample(jnp.asarray(high), target, rate, **KAISER_BEST))
        assert np.abs(gone[rate // 10 : -rate // 10]).max() < 2e-6


def test_kernel_holds_the_filters():
    """Each phase's weights where its filter begins, and zeros elsewhere: the ones that a wider grid of taps has too."""
    made = polyphase.design(48_000, 44_100, width=6, rolloff=0.99, beta=None, precision=np.float64)
    assert (made.step, made.phases) == (160, 147)
    first, weights = polyphase.filters(made)
    kernel = polyphase.kernel(made)
    assert kernel.shape == (first[-1] + 2 * made.reach, 1, 147)
    for phase in (0, 1, 73, 146):
        seen = kernel[first[phase] : first[phase] + 2 * made.reach, 0, phase]
        np.testing.assert_array_equal(seen, weights[phase])
        assert np.count_nonzero(kernel[:, 0, phase]) == np.count_nonzero(weights[phase])
    np.testing.assert_allclose(weights.sum(1), 1, atol=0.01)  # a constant stays one


def test_what_is_refused():
    wave = jnp.ones(5)
    assert sinc_resample(wave, 8_000, 8_000) is wave
    with pytest.raises(ValueError, match="from 16000 Hz to -1 Hz"):
        sinc_resample(wave, 16_000, -1)
    with pytest.raises(ValueError, match=r"16000 to 11127 samples .* resample on the host"):
        sinc_resample(wave, 11_127, 16_000)
