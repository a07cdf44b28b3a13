"""Mel bands of a clip's frames in NumPy, as fast as one core allows.

A block of frames goes through window, Fourier transform, magnitude and filter bank while it stays in the
processor's second-level cache, and each filter is multiplied only where it is not zero.
"""

import functools
import math
from typing import Literal, NamedTuple, cast

import numpy as np
import scipy.fft
from jaxtyping import Float

from ldm_jax.audio.stft import hann

BLOCK = 2**16  # samples of a block, which with its spectrum takes 0.5 MiB in float32
PIECE = 16  # bands that are multiplied together


class Piece(NamedTuple):
    """Part of a filter bank: some bands, and the weights of the bins in which they are not zero."""

    bins: slice
    bands: slice
    weights: np.ndarray


def pieces(
    bank: Float[np.ndarray, "bins bands"], *, power: Literal[1, 2], dtype: np.dtype
) -> tuple[Piece, ...]:
    """The bank cut up for `band_energies`, where with power 2 each bin is a real and an imaginary square."""
    parts = []
    for first in range(0, bank.shape[1], PIECE):
        bands = slice(first, first + PIECE)
        used = np.flatnonzero(bank[:, bands].any(axis=1))
        low, high = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
        weights = np.repeat(bank[low:high, bands], power, axis=0)
        parts.append(Piece(slice(power * low, power * high), bands, weights.astype(dtype)))
    return tuple(parts)


def band_energies(
    frames: Float[np.ndarray, "frames length"],
    parts: tuple[Piece, ...],
    *,
    power: Literal[1, 2],
    n_fft: int,
    periodic: bool = True,
    offset: Float[np.ndarray, " frames"] | None = None,
) -> Float[np.ndarray, "frames bands"]:
    """sum_k weight_k |FFT((frame - offset) Hann)_k|^power of each frame, which may be a view, in its type.

    Args:
        frames: overlapping stretches of a wave.
        parts: the filter bank as cut up by `pieces`, for this power and type.
        power: 1 magnitude, 2 power.
        n_fft: length of the transform; frames are padded to it with zeros.
        periodic: the kind of Hann window.
        offset: what each frame loses first.
    """
    count, length = frames.shape
    dtype = frames.dtype
    rows = max(1, BLOCK // n_fft)
    window = _repeated_hann(length, periodic, rows, dtype)
    weighted = _aligned((rows, n_fft), dtype)
    weighted[:, length:] = 0
    used = max(part.bins.stop for part in parts)
    strength = _aligned((rows, used), dtype)
    energies = np.empty((count, sum(part.weights.shape[1] for part in parts)), dtype)
    for start in range(0, count, rows):
        block = frames[start : start + rows]
        n = len(block)
        inner = weighted[:n, :length]
        if offset is None:
            np.multiply(block, window[:n], out=inner)
        else:
            np.subtract(block, offset[start : start + n, None], out=inner)
            np.multiply(inner, window[:n], out=inner)
        spectrum = cast(np.ndarray, scipy.fft.rfft(weighted[:n]))
        if power == 1:
            values = np.abs(spectrum[:, :used], out=strength[:n])
        else:
            values = spectrum.view(dtype)[:, :used]
            np.multiply(values, values, out=values)
        for bins, bands, weights in parts:
            np.matmul(values[:, bins], weights, out=energies[start : start + n, bands])
    return energies


def stacked(clips: list[np.ndarray]) -> np.ndarray:
    """np.stack, which does not copy a single clip."""
    return np.stack(clips) if len(clips) > 1 else clips[0][None]


@functools.cache
def _repeated_hann(length: int, periodic: bool, rows: int, dtype: np.dtype) -> np.ndarray:
    """The window for `rows` frames at once, which is faster than broadcasting one."""
    window = _aligned((rows, length), dtype)
    window[:] = hann(length, periodic=periodic)
    window.flags.writeable = False
    return window


def _aligned(shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """An empty array that begins at a cache line."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)
