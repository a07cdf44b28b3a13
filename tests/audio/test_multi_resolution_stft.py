"""The distances against librosa's spectra in float64, the figures of auraloss, and where derivatives could break."""

import functools

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from ldm_jax.audio.multi_resolution_stft import multi_resolution_stft
from tests.eval.metrics.test_spectral import PEERS, waves
from tests.golden import random_array


def with_librosa(x, y):
    """Means of both terms over Yamamoto et al.'s three resolutions."""
    terms = []
    for n_fft, hop, length in ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240)):
        ours, theirs = (
            np.sqrt(
                np.maximum(
                    np.abs(
                        librosa.stft(
                            wave,
                            n_fft=n_fft,
                            hop_length=hop,
                            win_length=length,
                            window="hann",
                            pad_mode="reflect",
                            dtype=np.complex128,
                        )
                    )
                    ** 2,
                    1e-8,
                )
            )
            for wave in (x, y)
        )
        log_distance = np.mean(np.abs(np.log(theirs) - np.log(ours)))
        terms.append((np.linalg.norm(theirs - ours) / np.linalg.norm(theirs), log_distance))
    return np.mean(terms, axis=0)


def test_is_librosas():
    x, y = 0.1 * random_array("x", (2, 4_001)), 0.1 * random_array("y", (2, 4_001))
    x[0, 1_000:3_500] = 0  # below the least power
    expected = np.transpose([with_librosa(*pair) for pair in zip(x, y, strict=True)])
    np.testing.assert_allclose(multi_resolution_stft(x, y), expected, rtol=1e-10)
    np.testing.assert_allclose(multi_resolution_stft(x[1], y[1]), expected[:, 1], rtol=1e-10)
    compiled = jax.jit(multi_resolution_stft)(*(jnp.asarray(z, jnp.float32) for z in (x, y)))
    np.testing.assert_allclose(compiled, expected, rtol=1e-5)


def test_is_auralosss():
    """Its loss with default settings is the sum of both."""
    x, y = (wave.astype(np.float64) for wave in waves())
    np.testing.assert_allclose(
        sum(multi_resolution_stft(x, y)), PEERS["multi_resolution_stft"][0], rtol=5e-8
    )


def test_gradient():
    """A difference quotient; finite where the waves are alike, and zero in silence."""
    small = functools.partial(multi_resolution_stft, resolutions=((64, 10, 40), (32, 8, 16)))
    loss = jax.jit(lambda x, y: sum(small(x, y)))
    gradient = jax.jit(jax.grad(lambda x, y: sum(small(x, y))))
    with jax.enable_x64(True):
        x, y, step = (jnp.asarray(0.1 * random_array(name, (300,))) for name in ("x", "y", "s"))
        slope = float(gradient(x, y) @ step)
        quotient = float(loss(x + 1e-7 * step, y) - loss(x - 1e-7 * step, y)) / 2e-7
        np.testing.assert_allclose(slope, quotient, rtol=1e-6)
        assert np.isfinite(gradient(x, x)).all()
        np.testing.assert_array_equal(gradient(jnp.zeros_like(x), y), 0)
        np.testing.assert_array_equal(gradient(jnp.zeros_like(x), jnp.zeros_like(x)), 0)


def test_too_short():
    with pytest.raises(ValueError, match="a clip of 1024 samples; to reflect its ends takes 1025"):
        multi_resolution_stft(np.zeros(1_024), np.zeros(1_024))
