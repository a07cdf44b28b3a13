"""Mel spectrograms in decibels, as CLAP and PANNs hear them, for NumPy and JAX arrays with the same numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ldm_jax.audio.bands import Piece, band_energies, pieces, stacked
from ldm_jax.audio.mel import mel_filters
from ldm_jax.audio.stft import as_float, frames, hann, like, namespace, reflect

FLOOR = 1e-10


def decibel_mel(
    wave: Float[np.ndarray | Array, "*batch samples"],
    *,
    sample_rate: int,
    n_fft: int,
    hop: int,
    num_mels: int,
    fmin: float,
    fmax: float,
    htk: bool = False,
) -> Float[np.ndarray | Array, "*batch frames mels"]:
    """10 log10 max(1e-10, sum_k filter_k |STFT_k|^2), the clip reflected at its ends.

    Args:
        wave: mono clips.
        sample_rate: in Hz.
        n_fft: length of the windows (periodic Hann) and of the transform.
        hop: samples from frame to frame.
        num_mels: bands.
        fmin: where the lowest begins, in Hz.
        fmax: where the highest ends, in Hz.
        htk: on HTK's mel scale with triangles of height 1; else Slaney's scale and norm.

    Raises:
        ValueError: not more samples than are reflected, half a window.
    """
    wave = as_float(wave)
    padded = reflect(wave, n_fft // 2)
    bands = (sample_rate, n_fft, num_mels, fmin, fmax, htk)
    if namespace(wave) is jnp:
        parts = frames(padded, length=n_fft, hop=hop)
        spectrum = jnp.fft.rfft(parts * like(parts, hann(n_fft)))
        power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
        with jax.default_matmul_precision("highest"):  # a TPU would multiply in bfloat16
            mel = power @ jnp.asarray(_bank(*bands), power.dtype)
        return 10 * jnp.log10(jnp.maximum(mel, FLOOR))
    cut = _pieces(*bands, wave.dtype)
    clips = frames(padded.reshape(-1, padded.shape[-1]), length=n_fft, hop=hop)
    mel = stacked([band_energies(clip, cut, power=2, n_fft=n_fft) for clip in clips])
    np.maximum(mel, FLOOR, out=mel)
    np.log(mel, out=mel)  # float32's log10 is many times slower
    mel *= 10 / np.log(10)
    np.maximum(mel, 10 * np.log10(FLOOR), out=mel)
    return mel.reshape(*wave.shape[:-1], *mel.shape[1:])


def _bank(
    sample_rate: int, n_fft: int, num_mels: int, fmin: float, fmax: float, htk: bool
) -> Float[np.ndarray, "bins mels"]:
    return mel_filters(
        sample_rate=sample_rate,
        n_fft=n_fft,
        num_mels=num_mels,
        fmin=fmin,
        fmax=fmax,
        htk=htk,
        normalise=not htk,
    )


@functools.cache
def _pieces(
    sample_rate: int,
    n_fft: int,
    num_mels: int,
    fmin: float,
    fmax: float,
    htk: bool,
    dtype: np.dtype,
) -> tuple[Piece, ...]:
    return pieces(_bank(sample_rate, n_fft, num_mels, fmin, fmax, htk), power=2, dtype=dtype)
