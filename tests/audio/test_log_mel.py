"""Log-mel spectrograms: against the published programs' numbers, and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.audio.log_mel import CENTRED_16K, MEL_16K, MEL_48K, fit_frames, log_mel
from ldm_jax.audio.stft import magnitude
from tests import cases_audio as cases
from tests.golden import load, random_array, relative_error


@pytest.mark.parametrize("library", [np, jnp])
@pytest.mark.parametrize(("name", "samples"), sorted(cases.LOG_MEL))
def test_golden(name, samples, library):
    """In float32 within 1e-5 of the peers' float64: of the whole array, and of every band that is not faint.

    Next to a peak 10^5 times as strong float32's Fourier transform leaves three digits.
    """
    settings = cases.SETTINGS[name]
    stored = load("audio_log_mel")[1]
    theirs = stored[f"{name}_{samples}"]
    wave = library.asarray(cases.wave(samples, settings.sample_rate), np.float32)
    ours = log_mel(wave, settings)
    assert isinstance(ours, jax.Array if library is jnp else np.ndarray)
    assert ours.dtype == np.float32
    assert ours.shape == tuple(stored[f"{name}_{samples}_shape"])
    assert len(ours) == settings.frames(samples)
    frames = cases.kept(len(ours))
    assert relative_error(ours[frames], theirs) < 1e-5
    errors = np.abs(ours[frames] - theirs)  # in natural logarithms: of the bands, relative
    assert errors[theirs > np.log(1e-2)].max() < 1e-5
    assert errors.max() < 1e-3
    if f"{name}_{samples}_magnitude" in stored:
        sizes = {"n_fft": settings.n_fft, "hop": settings.hop, "pad": settings.pad}
        strength = magnitude(wave, **sizes, even_bins=True)[frames]
        assert relative_error(strength, stored[f"{name}_{samples}_magnitude"]) < 1e-6


@pytest.mark.parametrize("settings", [MEL_16K, MEL_48K, CENTRED_16K])
def test_float64(settings):
    """In float64 both libraries agree to its last digits, and float32 with them."""
    x = cases.wave(20_001, settings.sample_rate)
    exact = log_mel(x, settings)
    assert exact.dtype == np.float64
    with jax.enable_x64(True):
        assert relative_error(log_mel(jnp.asarray(x), settings), exact) < 1e-12
    assert relative_error(log_mel(x.astype(np.float32), settings), exact) < 1e-6


@pytest.mark.parametrize(
    ("settings", "frames"), [(MEL_16K, 1024), (MEL_48K, 1024), (CENTRED_16K, 1025)]
)
def test_frames_of_a_training_clip(settings, frames):
    assert settings.frames(round(10.24 * settings.sample_rate)) == frames


@pytest.mark.parametrize("samples", [433, 479, 480, 481, 639, 640, 12_345])
def test_frames_tile_the_clip(samples):
    assert MEL_16K.frames(samples) == samples // 160
    assert len(log_mel(np.zeros(samples, np.float32))) == samples // 160
    assert CENTRED_16K.frames(samples) == samples // 160 + 1


def test_silence_is_the_floor():
    mel = log_mel(np.zeros((2, 1_600), np.float32))
    np.testing.assert_allclose(mel, np.full((2, 10, 64), -11.5129255), rtol=1e-7)


def test_a_tone_lies_in_its_bands():
    """A cosine of amplitude 1 on bin 64 (1 kHz) puts n_fft / 4 there and half of it beside; the bands weigh that."""
    x = np.cos(2 * np.pi * 1_000 / 16_000 * np.arange(16_000))
    weights = MEL_16K.bank
    expected = np.log(np.maximum(weights[63] * 128 + weights[64] * 256 + weights[65] * 128, 1e-5))
    np.testing.assert_allclose(log_mel(x)[10:-10], np.tile(expected, (80, 1)), atol=1e-8)


def test_twice_as_loud_is_ln_2_more():
    x = random_array("x", (4_000,))
    np.testing.assert_allclose(log_mel(2 * x) - log_mel(x), np.log(2), atol=1e-12)


def test_batches_and_compilation():
    x = (0.1 * random_array("x", (2, 3, 4_001))).astype(np.float32)
    batch = log_mel(x)
    assert batch.shape == (2, 3, 25, 64)
    for row in np.ndindex(2, 3):
        np.testing.assert_array_equal(log_mel(x[row]), batch[row])
    assert relative_error(jax.jit(log_mel)(x), batch) < 1e-6


def test_gradient():
    """Of the compiled spectrogram along a direction: the difference quotient; in silence finite."""
    x, step = 0.1 * random_array("x", (2_000,)), 1e-4 * random_array("step", (2_000,))
    energy = jax.jit(lambda x: jnp.sum(log_mel(x) ** 2))
    with jax.enable_x64(True):
        slope = float(jax.jvp(energy, (jnp.asarray(x),), (jnp.asarray(step),))[1])
        quotient = float(energy(x + 1e-3 * step) - energy(x - 1e-3 * step)) / 2e-3
    assert abs(slope - quotient) < 1e-5 * abs(quotient)
    assert np.isfinite(jax.grad(energy)(jnp.zeros(2_000))).all()


@pytest.mark.parametrize("library", [np, jnp])
def test_fit_frames(library):
    mel = library.asarray(random_array("mel", (2, 5, 3)))
    longer = fit_frames(mel, 8)
    np.testing.assert_array_equal(longer[:, :5], mel)
    np.testing.assert_array_equal(longer[:, 5:], 0)
    np.testing.assert_array_equal(fit_frames(mel, 4), mel[:, :4])


def test_too_short():
    with pytest.raises(ValueError, match="a clip of 784 samples; to reflect its ends takes 785"):
        log_mel(np.zeros(784), MEL_48K)
