"""Two waves compared by the magnitudes of several short-time Fourier transforms, for NumPy and JAX arrays.

Yamamoto, Song and Kim, "Parallel WaveGAN", arXiv 1910.11480, section 2.2: no single window resolves both time and
frequency, so three take part. Gradients are finite where the waves are alike, and in silence.
"""

from typing import Any

import numpy as np
from jaxtyping import Array, Float

from ldm_jax.audio.stft import as_float, frames, hann, like, namespace, reflect

RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))  # transform, hop, window
_LEAST_POWER = 1e-8

Numbers = Float[np.ndarray | np.floating | Array, "*batch"]


def multi_resolution_stft(
    generated: Float[np.ndarray | Array, "*batch samples"],
    reference: Float[np.ndarray | Array, "*batch samples"],
    *,
    resolutions: tuple[tuple[int, int, int], ...] = RESOLUTIONS,
) -> tuple[Numbers, Numbers]:
    """(spectral convergence, distance of log magnitudes) of each pair, means over the resolutions.

    || |Y| - |X| ||_F / || |Y| ||_F and mean |ln |Y| - ln |X||, of X generated and Y reference, with powers of at
    least 1e-8. In float32, or in float64 for such waves.

    Args:
        generated: waves.
        reference: waves of the same length and rate.
        resolutions: (length of the transform, hop, length of the window) of each; the defaults are the paper's for
            24 kHz, which everyone uses at 16 kHz too.

    Raises:
        ValueError: clips with not more samples than half the longest transform, 1024.
    """
    xp = namespace(generated)
    convergence: Any = 0.0
    distance: Any = 0.0
    both = (-2, -1)
    for n_fft, hop, length in resolutions:
        x, y = (
            short_window_magnitude(as_float(wave), n_fft=n_fft, hop=hop, length=length)
            for wave in (generated, reference)
        )
        misfit, size = ((z**2).sum(axis=both) for z in (y - x, y))
        alike = misfit == 0  # where the root has no derivative
        root = xp.sqrt(xp.where(alike, 1.0, misfit))
        convergence = convergence + xp.where(alike, 0.0, root) / xp.sqrt(size)
        distance = distance + xp.abs(xp.log(y) - xp.log(x)).mean(axis=both)
    return convergence / len(resolutions), distance / len(resolutions)


def short_window_magnitude(
    wave: Float[np.ndarray | Array, "*batch samples"], *, n_fft: int, hop: int, length: int
) -> Float[np.ndarray | Array, "*batch frames bins"]:
    """max(1e-8, |STFT|^2)^(1/2) with a window shorter than the transform, in its middle, clip reflected.

    Raises:
        ValueError: not more than n_fft / 2 samples.
    """
    xp = namespace(wave)
    before = (n_fft - length) // 2
    window = np.pad(hann(length), (before, n_fft - length - before))
    parts = frames(reflect(wave, n_fft // 2), length=n_fft, hop=hop)
    spectrum = xp.fft.rfft(parts * like(parts, window))
    return xp.sqrt(xp.maximum(spectrum.real**2 + spectrum.imag**2, _LEAST_POWER))
