"""PANNs' spectrograms: against golden outputs of torchlibrosa, librosa, and each other."""

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from ldm_jax.audio.panns_features import PANNS, PANNS_32K_WIDE, panns_log_mel
from tests import cases_audio
from tests import cases_eval_networks as cases
from tests.golden import load, random_array, relative_error


@pytest.mark.parametrize("name", cases.PANNS_CASES)
@pytest.mark.parametrize("library", [np, jnp])
def test_golden(name, library):
    """The peer's Fourier and mel matrices are float32; its sums here are float64."""
    settings, samples = cases.PANNS_CASES[name]
    stored = load("eval_features")[1]
    wave = library.asarray(cases_audio.wave(samples, settings.sample_rate), np.float32)
    ours = panns_log_mel(wave, settings)
    assert ours.dtype == np.float32
    assert ours.shape == tuple(stored[f"panns_{name}_shape"])
    ours, theirs = np.asarray(ours[cases_audio.kept(len(ours))]), stored[f"panns_{name}"]
    assert relative_error(ours, theirs) < 1e-5
    assert np.abs(ours - theirs).max() < 0.01  # dB


@pytest.mark.parametrize("settings", [*PANNS.values(), PANNS_32K_WIDE])
def test_is_librosas_spectrogram(settings):
    wave = random_array("wave", (3 * settings.sample_rate,))
    power = librosa.feature.melspectrogram(
        y=wave,
        sr=settings.sample_rate,
        n_fft=settings.n_fft,
        hop_length=settings.hop,
        pad_mode="reflect",
        n_mels=64,
        fmin=50,
        fmax=settings.fmax,
        dtype=np.float64,
    )
    ours = panns_log_mel(wave, settings)
    assert ours.shape == (settings.frames(len(wave)), 64) == (301, 64)
    assert relative_error(ours, 10 * np.log10(np.maximum(power, 1e-10)).T) < 1e-8


def test_published_settings():
    sizes = [(x.n_fft, x.hop, x.fmax) for x in PANNS.values()]
    assert sizes == [(256, 80, 4_000), (512, 160, 8_000), (1024, 320, 14_000)]
    assert (PANNS_32K_WIDE.n_fft, PANNS_32K_WIDE.fmax) == (1024, 16_000)
    assert PANNS[16_000].frames(163_840) == 1025


def test_silence_is_the_floor():
    np.testing.assert_array_equal(panns_log_mel(np.zeros(1000, np.float32), PANNS[16_000]), -100.0)


def test_batches_and_jit():
    waves = random_array("waves", (2, 3, 8_000))
    ours = panns_log_mel(waves, PANNS[8_000])
    assert ours.shape == (2, 3, 101, 64)
    np.testing.assert_array_equal(ours[1, 2], panns_log_mel(waves[1, 2], PANNS[8_000]))
    with jax.enable_x64(True):
        assert (
            relative_error(jax.jit(panns_log_mel, static_argnums=1)(waves, PANNS[8_000]), ours)
            < 1e-12
        )


def test_gradients():
    wave, step = 0.1 * random_array("wave", (4_000,)), 1e-4 * random_array("step", (4_000,))
    energy = jax.jit(lambda x: jnp.sum(panns_log_mel(x, PANNS[16_000]) ** 2))
    with jax.enable_x64(True):
        slope = float(jax.jvp(energy, (jnp.asarray(wave),), (jnp.asarray(step),))[1])
        quotient = float(energy(wave + 1e-3 * step) - energy(wave - 1e-3 * step)) / 2e-3
    assert abs(slope - quotient) < 1e-5 * abs(quotient)


def test_too_short():
    with pytest.raises(ValueError, match="a clip of 256 samples; to reflect its ends takes 257"):
        panns_log_mel(np.zeros(256), PANNS[16_000])
