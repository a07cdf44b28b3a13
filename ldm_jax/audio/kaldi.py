"""Kaldi's log mel filter bank, and AudioMAE's input made from it.

The definition is that of torchaudio.compliance.kaldi.fbank. The functions take NumPy arrays (data
workers) and JAX arrays (inside a compiled program) and answer in kind, with the same numbers. They
compute in the type of the wave, at least float32.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ldm_jax.audio.bands import Piece, band_energies, pieces, stacked
from ldm_jax.audio.stft import as_float, frames, hann, like, namespace

ENERGY_FLOOR = float(np.finfo(np.float32).eps)  # in every precision
PREEMPHASIS = 0.97
AUDIOMAE_RATE = 16_000
AUDIOMAE_FRAMES = 1024
AUDIOMAE_BINS = 128
AUDIOSET_MEAN, AUDIOSET_STD = -4.2677393, 4.5689974  # of this filter bank over AudioSet


def mel_scale(hz: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Kaldi's mel scale, 1127 ln(1 + hz / 700)."""
    return 1127.0 * np.log1p(hz / 700.0)


@functools.cache
def mel_triangles(
    *, bins: int, fft_size: int, sample_rate: int, low_hz: float, high_hz: float | None = None
) -> Float[np.ndarray, "frequencies bins"]:
    """Triangles of height 1, spaced evenly in mel from `low_hz` to `high_hz`, or to the Nyquist frequency.

    Their slopes are straight in mel, not in hertz. With AudioMAE's settings the lowest are narrower
    than the spacing of the FFT, and one of the 128 holds no point of it: always ln(1.19e-7).

    Returns:
        float64, not to be written to.
    """
    low, high = mel_scale(np.asarray([low_hz, sample_rate / 2 if high_hz is None else high_hz]))
    edges = np.linspace(low, high, bins + 2)
    points = mel_scale(np.arange(fft_size // 2 + 1) * sample_rate / fft_size)[:, None]
    rising = (points - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - points) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0.0, np.minimum(rising, falling))
    filters[-1] = 0.0  # Kaldi leaves out the Nyquist frequency
    filters.flags.writeable = False
    return filters


def fbank(
    wave: Float[Array | np.ndarray, "*batch samples"],
    *,
    bins: int = 80,
    sample_rate: int = 16_000,
    frame_ms: float = 25.0,
    shift_ms: float = 10.0,
    low_hz: float = 20.0,
) -> Float[Array | np.ndarray, "*batch frames bins"]:
    """ln(max(sum_f filter_f |FFT(frame)_f|^2, 1.19e-7)) of every frame wholly within the wave.

    A frame loses its mean; then each sample loses 0.97 of the one before it, the first of itself;
    then it is weighted by the symmetric Hann window and padded with zeros to a power of two. There
    is no dither and no column of energies.

    Args:
        wave: samples, full scale 1.
        bins: mel filters.
        sample_rate: in Hz.
        frame_ms: length of a frame.
        shift_ms: from frame to frame.
        low_hz: where the lowest filter begins, in Hz.

    Raises:
        ValueError: the wave is shorter than one frame.
    """
    wave = as_float(wave)
    length, shift = int(sample_rate * frame_ms / 1000), int(sample_rate * shift_ms / 1000)
    if wave.shape[-1] < length:
        raise ValueError(f"the wave has {wave.shape[-1]} samples, fewer than a frame's {length}")
    fft_size = 2 ** math.ceil(math.log2(length))
    filters = mel_triangles(bins=bins, fft_size=fft_size, sample_rate=sample_rate, low_hz=low_hz)
    if isinstance(wave, jax.Array):
        energy = _energies(wave, filters, length=length, shift=shift, fft_size=fft_size)
        return jnp.log(jnp.maximum(energy, ENERGY_FLOOR))
    parts = _pieces(wave.dtype, bins, fft_size, sample_rate, low_hz)
    clips = wave.reshape(-1, wave.shape[-1])
    energy = stacked([_fast_energies(clip, parts, length, shift, fft_size) for clip in clips])
    np.maximum(energy, ENERGY_FLOOR, out=energy)
    return np.log(energy, out=energy).reshape(*wave.shape[:-1], *energy.shape[1:])


def _energies(
    wave: Float[Array, "*batch samples"],
    filters: Float[np.ndarray, "frequencies bins"],
    *,
    length: int,
    shift: int,
    fft_size: int,
) -> Float[Array, "*batch frames bins"]:
    parts = frames(wave, length=length, hop=shift)
    parts = parts - parts.mean(axis=-1, keepdims=True)
    before = jnp.concatenate([parts[..., :1], parts[..., :-1]], axis=-1)
    parts = (parts - PREEMPHASIS * before) * like(parts, hann(length, periodic=False))
    spectrum = jnp.fft.rfft(parts, n=fft_size)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    with jax.default_matmul_precision("highest"):  # a TPU would multiply in bfloat16
        return power @ jnp.asarray(filters, power.dtype)


def _fast_energies(
    wave: Float[np.ndarray, " samples"],
    parts: tuple[Piece, ...],
    length: int,
    shift: int,
    fft_size: int,
) -> Float[np.ndarray, "frames bins"]:
    """The same numbers with the difference taken once for the wave and not in every frame.

    The first sample of a frame, which lacks the one before it, does not count: the window is 0 there.
    What is left of a frame's mean after the difference is (1 - 0.97) of it.
    """
    difference = wave.copy()
    difference[1:] -= wave.dtype.type(PREEMPHASIS) * wave[:-1]
    means = np.asarray(frames(wave, length=length, hop=shift)).mean(axis=-1)
    return band_energies(
        np.asarray(frames(difference, length=length, hop=shift)),
        parts,
        power=2,
        n_fft=fft_size,
        periodic=False,
        offset=(1 - PREEMPHASIS) * means,
    )


@functools.cache
def _pieces(
    dtype: np.dtype, bins: int, fft_size: int, sample_rate: int, low_hz: float
) -> tuple[Piece, ...]:
    filters = mel_triangles(bins=bins, fft_size=fft_size, sample_rate=sample_rate, low_hz=low_hz)
    return pieces(filters, power=2, dtype=dtype)


def audiomae_input(
    wave: Float[Array | np.ndarray, "*batch samples"], *, frames: int = AUDIOMAE_FRAMES
) -> Float[Array | np.ndarray, "*batch {frames} 128"]:
    """AudioMAE's input from 16 kHz waves: (fbank(wave - mean) - mu) / (2 sigma).

    mu and sigma are those of AudioSet. Frames beyond `frames` are dropped; missing ones are 0
    *before* mu and sigma are applied and end up at 0.467, as in training. 10.24 s give 1022 frames,
    so that the last two of 1024 are always such.
    """
    xp = namespace(wave)
    wave = as_float(wave)
    x = fbank(
        wave - wave.mean(axis=-1, keepdims=True), bins=AUDIOMAE_BINS, sample_rate=AUDIOMAE_RATE
    )[..., :frames, :]
    missing = [(0, 0)] * (x.ndim - 2) + [(0, frames - x.shape[-2]), (0, 0)]
    return (xp.pad(x, missing) - AUDIOSET_MEAN) / (2 * AUDIOSET_STD)
