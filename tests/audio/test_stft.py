"""The short-time Fourier transform: against librosa, its own inverse, and closed forms."""

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from ldm_jax.audio.stft import frame_count, istft, magnitude, stft
from tests.cases_audio import wave
from tests.golden import random_array, relative_error


@pytest.mark.parametrize("library", [np, jnp])
@pytest.mark.parametrize(("n_fft", "hop", "samples"), [(1024, 160, 7_681), (2048, 480, 20_000)])
def test_is_librosas(library, n_fft, hop, samples):
    x = wave(samples, 16_000)
    theirs = librosa.stft(x, n_fft=n_fft, hop_length=hop, pad_mode="reflect", dtype=complex).T
    ours = stft(library.asarray(x, np.float32), n_fft=n_fft, hop=hop, pad=n_fft // 2)
    assert isinstance(ours, jax.Array if library is jnp else np.ndarray)
    assert ours.dtype == np.complex64
    assert np.linalg.norm(ours - theirs) < 1e-6 * np.linalg.norm(theirs)
    ours = stft(x, n_fft=n_fft, hop=hop, pad=n_fft // 2)
    assert np.linalg.norm(ours - theirs) < 1e-13 * np.linalg.norm(theirs)
    strength = magnitude(library.asarray(x, np.float32), n_fft=n_fft, hop=hop, pad=n_fft // 2)
    assert relative_error(strength, np.abs(theirs)) < 1e-6


@pytest.mark.parametrize("pad", [0, 432, 512])
@pytest.mark.parametrize("samples", [1_024, 1_025, 1_183, 1_184, 5_001])
def test_frame_count(samples, pad):
    """Every frame that lies in the extended clip, and no other."""
    starts = [k for k in range(0, samples + 2 * pad, 160) if k + 1024 <= samples + 2 * pad]
    assert frame_count(samples, n_fft=1024, hop=160, pad=pad) == len(starts)
    x = random_array("x", (samples,)).astype(np.float32)
    for clip in (x, jnp.asarray(x)):
        assert stft(clip, n_fft=1024, hop=160, pad=pad).shape == (len(starts), 513)


def test_a_cosine_is_its_line():
    """A cosine on bin 40 of amplitude 1 gives n_fft / 4 there, half of it beside, and nothing else."""
    x = np.cos(2 * np.pi * 40 / 1024 * np.arange(4_096))
    strength = magnitude(x, n_fft=1024, hop=160, pad=0)
    expected = np.zeros(513)
    expected[[39, 40, 41]] = 128, 256, 128
    np.testing.assert_allclose(strength, np.tile(expected, (len(strength), 1)), atol=1e-9)


@pytest.mark.parametrize("library", [np, jnp])
@pytest.mark.parametrize("pad", [432, 512])
def test_inverse(library, pad):
    x = library.asarray(random_array("x", (2, 8_000)), np.float32)
    spectrum = stft(x, n_fft=1024, hop=160, pad=pad)
    back = istft(spectrum, n_fft=1024, hop=160, pad=pad)
    assert back.shape == (2, (spectrum.shape[1] - 1) * 160 + 1024 - 2 * pad)
    assert relative_error(back, x[:, : back.shape[1]]) < 1e-6


def test_inverse_is_the_nearest_wave():
    """Griffin and Lim's equation 6, by solving the least squares problem as one matrix."""
    count, n_fft, hop = 5, 16, 4
    shape = (count, n_fft // 2 + 1)
    spectrum = random_array("re", shape) + 1j * random_array("im", shape)
    spectrum[:, [0, -1]] = spectrum[:, [0, -1]].real  # as every real signal has it
    samples = (count - 1) * hop + n_fft
    units = np.eye(samples)
    columns = stft(units, n_fft=n_fft, hop=hop, pad=0)
    weight = np.sqrt(np.where(np.isin(np.arange(9), [0, 8]), 1, 2))  # both halves of the spectrum
    columns, target = columns * weight, spectrum * weight
    matrix = columns.reshape(samples, -1).T
    matrix, target = np.vstack([matrix.real, matrix.imag]), target.ravel()
    target = np.concatenate([target.real, target.imag])
    best = np.linalg.lstsq(matrix, target, rcond=None)[0]
    ours = istft(spectrum, n_fft=n_fft, hop=hop, pad=0)
    np.testing.assert_allclose(ours[1:-1], best[1:-1], atol=1e-9)  # the window is 0 at the first


def test_batches_and_compilation():
    x = random_array("x", (3, 2, 4_001)).astype(np.float32)
    batch = magnitude(x, n_fft=1024, hop=160, pad=432)
    assert batch.shape == (3, 2, 25, 513)
    np.testing.assert_array_equal(batch[1, 1], magnitude(x[1, 1], n_fft=1024, hop=160, pad=432))
    compiled = jax.jit(lambda x: magnitude(x, n_fft=1024, hop=160, pad=432))(x)
    assert relative_error(compiled, batch) < 1e-6


def test_even_bins():
    x = random_array("x", (2_000,))
    whole = magnitude(x, n_fft=1024, hop=160, pad=432)
    even = magnitude(x, n_fft=1024, hop=160, pad=432, even_bins=True)
    np.testing.assert_array_equal(even, whole[:, :512])


def test_gradient_in_silence_is_finite():
    gradient = jax.grad(lambda x: magnitude(x, n_fft=64, hop=16, pad=24).sum())
    np.testing.assert_array_equal(gradient(jnp.zeros(200)), 0)


@pytest.mark.parametrize("library", [np, jnp])
def test_too_short(library):
    with pytest.raises(ValueError, match="a clip of 432 samples; to reflect its ends takes 433"):
        stft(library.zeros(432), n_fft=1024, hop=160, pad=432)
