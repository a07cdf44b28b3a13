"""The short-time Fourier transform and its inverse, for NumPy and JAX arrays with the same numbers.

A clip is first extended at both ends by its own reflection, by `pad` samples. torch.stft's and librosa's
`center=True` is a pad of n_fft / 2; the published log-mel spectrograms take (n_fft - hop) / 2, which makes
samples // hop frames. The window is the periodic Hann window of n_fft samples throughout.
"""

import functools
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from jaxtyping import Array, Complex, Float


def namespace(x: np.ndarray | Array) -> ModuleType:
    """jax.numpy for JAX's arrays, also while they are traced; else numpy."""
    return jnp if isinstance(x, jax.Array) else np


def as_float(wave: Any) -> Any:
    """The wave in float32, or in float64 if it is that."""
    wave = wave if isinstance(wave, jax.Array) else np.asarray(wave)
    return wave.astype(jnp.promote_types(wave.dtype, np.float32), copy=False)


@functools.cache
def hann(length: int, *, periodic: bool = True) -> Float[np.ndarray, " {length}"]:
    """0.5 - 0.5 cos(2 pi n / N), where N is the length if periodic, else one less; float64, read-only."""
    size = length if periodic else length - 1
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / size)
    window.flags.writeable = False
    return window


def frame_count(samples: int, *, n_fft: int, hop: int, pad: int) -> int:
    """How many frames lie wholly within a clip that was extended by `pad` at both ends."""
    return max(0, 1 + (samples + 2 * pad - n_fft) // hop)


def reflect(
    wave: Float[np.ndarray | Array, "*batch samples"], pad: int
) -> Float[np.ndarray | Array, "*batch padded"]:
    """x_pad ... x_2 x_1 x_0 x_1 x_2 ...: the clip with its reflection at both ends.

    Raises:
        ValueError: the clip has not more samples than are to be reflected (as torch has it).
    """
    samples = wave.shape[-1]
    if samples <= pad:
        raise ValueError(f"a clip of {samples} samples; to reflect its ends takes {pad + 1}")
    if namespace(wave) is jnp:
        edges = [(0, 0)] * (wave.ndim - 1) + [(pad, pad)]
        return jnp.pad(wave, edges, mode="reflect")
    out = np.empty((*wave.shape[:-1], samples + 2 * pad), wave.dtype)  # np.pad is slow
    out[..., pad : pad + samples] = wave
    backwards = wave[..., ::-1]
    out[..., :pad] = backwards[..., samples - 1 - pad : samples - 1]
    out[..., pad + samples :] = backwards[..., 1 : pad + 1]
    return out


def frames(
    wave: Float[np.ndarray | Array, "*batch samples"], *, length: int, hop: int
) -> Float[np.ndarray | Array, "*batch frames {length}"]:
    """Stretches of `length` samples, one every `hop`: for NumPy a view, not to be written to."""
    count = frame_count(wave.shape[-1], n_fft=length, hop=hop, pad=0)
    if namespace(wave) is np:
        if count == 0:
            return np.empty((*wave.shape[:-1], 0, length), wave.dtype)
        return np.lib.stride_tricks.sliding_window_view(wave, length, axis=-1)[..., ::hop, :]
    blocks_each = -(-length // hop)  # put together from blocks of `hop`: no gather
    samples = (count + blocks_each - 1) * hop
    wave = wave[..., :samples]
    end = [(0, 0)] * (wave.ndim - 1) + [(0, samples - wave.shape[-1])]  # for what is cut off below
    blocks = jnp.pad(wave, end).reshape(*wave.shape[:-1], -1, hop)
    parts = [blocks[..., k : k + count, :] for k in range(blocks_each)]
    return jnp.concatenate(parts, axis=-1)[..., :length]


def like(x: np.ndarray | Array, constant: np.ndarray) -> Any:
    """`constant` as an array of `x`'s kind, type and rank."""
    ones = (1,) * (x.ndim - constant.ndim)
    return namespace(x).asarray(constant, x.dtype).reshape(ones + constant.shape)


def stft(
    wave: Float[np.ndarray | Array, "*batch samples"], *, n_fft: int, hop: int, pad: int
) -> Complex[np.ndarray | Array, "*batch frames bins"]:
    """X_tk = sum_n hann_n x_(t hop + n - pad) exp(-2 pi i k n / n_fft), for k up to n_fft / 2.

    Raises:
        ValueError: not more than `pad` samples.
    """
    return windowed_stft(reflect(as_float(wave), pad), n_fft=n_fft, hop=hop)


def windowed_stft(padded: Any, *, n_fft: int, hop: int) -> Any:
    """`stft` of a clip that is already extended."""
    parts = frames(padded, length=n_fft, hop=hop)
    weighted = parts * like(parts, hann(n_fft))
    return jnp.fft.rfft(weighted) if isinstance(weighted, jax.Array) else scipy.fft.rfft(weighted)


def istft(
    spectrum: Complex[np.ndarray | Array, "*batch frames bins"], *, n_fft: int, hop: int, pad: int
) -> Float[np.ndarray | Array, "*batch samples"]:
    """The wave whose STFT is nearest to `spectrum` in least squares (Griffin and Lim, 1984, equation 6).

    Returns:
        (frames - 1) hop + n_fft - 2 pad samples: without what `stft` put at the ends.
    """
    window = hann(n_fft)
    fft: Any = jnp.fft if isinstance(spectrum, jax.Array) else scipy.fft
    parts = fft.irfft(spectrum, n=n_fft)
    wave = overlap_add(parts * like(parts, window), hop)
    count = spectrum.shape[-2]
    weight = overlap_add(np.broadcast_to(window**2, (count, n_fft)), hop)
    wave = wave / like(wave, np.maximum(weight, 1e-8))
    return wave[..., pad : wave.shape[-1] - pad]


def overlap_add(
    parts: Float[np.ndarray | Array, "*batch frames length"], hop: int
) -> Float[np.ndarray | Array, "*batch samples"]:
    """The sum of the frames, each `hop` after the one before."""
    xp = namespace(parts)
    count, length = parts.shape[-2:]
    blocks_each = -(-length // hop)
    batch = parts.shape[:-2]
    edges = [(0, 0)] * len(batch) + [(0, 0), (0, blocks_each * hop - length)]
    blocks = xp.pad(parts, edges).reshape(*batch, count, blocks_each, hop)
    total = xp.zeros((*batch, count + blocks_each - 1, hop), parts.dtype)
    for k in range(blocks_each):
        if xp is jnp:
            total = total.at[..., k : k + count, :].add(blocks[..., k, :])
        else:
            total[..., k : k + count, :] += blocks[..., k, :]
    return total.reshape(*batch, -1)[..., : (count - 1) * hop + length]


def magnitude(
    wave: Float[np.ndarray | Array, "*batch samples"],
    *,
    n_fft: int,
    hop: int,
    pad: int,
    even_bins: bool = False,
) -> Float[np.ndarray | Array, "*batch frames bins"]:
    """|STFT|, with finite gradients in digital silence.

    Args:
        wave: clips.
        n_fft: length of window and transform.
        hop: from frame to frame.
        pad: samples reflected at either end.
        even_bins: without the Nyquist frequency, so that the number of bins is even, as the published
            code stores it.

    Raises:
        ValueError: not more than `pad` samples.
    """
    spectrum = stft(wave, n_fft=n_fft, hop=hop, pad=pad)
    return namespace(spectrum).abs(spectrum)[..., : n_fft // 2 if even_bins else None]
