"""Changing the sample rate by a short windowed sinc, as torchaudio's `resample` does.

Evaluation tools use it, and a figure depends on the resampler; to resample for its own sake take `resampling`.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


def sinc_resample(
    wave: Float[np.ndarray, " samples"],
    rate: int,
    target: int,
    *,
    width: int = 6,
    rolloff: float = 0.99,
    beta: float | None = None,
    precision: type[np.floating] = np.float64,
) -> Float[np.ndarray, " resampled"]:
    """y_m = sum_n x_n h(m / target - n / rate), ceil(samples target / rate) samples in the wave's type.

    h(t) = 2 c sinc(2 c t) w(t) / rate, with c = rolloff min(rate, target) / 2 and the window w `width` zero crossings
    long on either side. The ratio is reduced first, so that few different filters are needed.

    Args:
        wave: mono.
        rate: of the wave in Hz.
        target: in Hz.
        width: zero crossings on either side; torchaudio's `lowpass_filter_width`.
        rolloff: cutoff as a share of the lower Nyquist frequency.
        beta: of a Kaiser window; None is a squared cosine ("sinc_interp_hann").
        precision: in which the filters are made. torchaudio's function makes them in the wave's, its transform in
            float64; that is worth up to 1e-6.

    Raises:
        ValueError: a rate that is not positive.
    """
    if rate <= 0 or target <= 0:
        raise ValueError(f"cannot resample from {rate} Hz to {target} Hz")
    common = math.gcd(rate, target)
    step, phases = rate // common, target // common
    if step == phases:
        return wave
    reach = math.ceil(width * step / (min(step, phases) * rolloff))
    design = _Design(step, phases, reach, width, rolloff, beta, np.dtype(precision))
    first, kernel = _kernel(design)
    kernel = kernel.astype(wave.dtype)
    parts = np.lib.stride_tricks.sliding_window_view(np.pad(wave, (reach, reach + step)), 2 * reach)
    out = np.empty((len(wave) // step + 1, phases), wave.dtype)
    for phase in range(phases):
        np.matmul(parts[first[phase] :: step][: len(out)], kernel[phase], out=out[:, phase])
    return out.reshape(-1)[: -(-target * len(wave) // rate)]


class _Design(NamedTuple):
    """A filter for each of `phases` outputs, which recur every `step` inputs and reach over `reach` to either side."""

    step: int
    phases: int
    reach: int
    width: int
    rolloff: float
    beta: float | None
    dtype: np.dtype


@functools.lru_cache(maxsize=8)
def _kernel(
    design: _Design,
) -> tuple[Int[np.ndarray, " phases"], Float[np.ndarray, "phases taps"]]:
    """(where each filter begins in a padded wave, its weights where they are not zero)."""
    phase = np.arange(design.phases)
    first = -(-phase * design.step // design.phases)
    place = first[:, None] + np.arange(-design.reach, design.reach)
    return first, _weights(design, place, phase[:, None])


def _weights(
    design: _Design, place: Int[np.ndarray, "#a #b"], phase: Int[np.ndarray, "#a #b"]
) -> Float[np.ndarray, "a b"]:
    """What the input at `place` adds to the output of `phase`."""
    step, phases, _, width, rolloff, beta, dtype = design
    cutoff = min(step, phases) * rolloff
    before = place.astype(dtype) / dtype.type(step)
    # torchaudio divides whole numbers here, which gives float32 whatever the rest is made in.
    after = -phase.astype(np.float32) / np.float32(phases)
    t = np.clip((after + before) * dtype.type(cutoff), -width, width).astype(dtype)
    if beta is None:
        window = np.cos(t * dtype.type(np.pi) / width / 2) ** 2
    else:
        window = np.i0(beta * np.sqrt(np.maximum(1 - (t / width) ** 2, 0))) / np.i0(beta)
    return (np.sinc(t) * window * dtype.type(cutoff / step)).astype(dtype)
