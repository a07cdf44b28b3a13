"""Filters of a windowed sinc for changing the sample rate by a ratio of whole numbers, as torchaudio's `resample` has.

At a ratio of `phases` outputs to `step` inputs, every `phases`-th output lies alike among the inputs: there are as many
filters, which move on by `step` inputs.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Design(NamedTuple):
    """A filter for each of `phases` outputs, which recur every `step` inputs and reach over `reach` to either side.

    h(t) = 2 c sinc(2 c t) w(t) / rate, with c = rolloff min(rate, target) / 2 and the window w `width` zero crossings
    long on either side; see `sinc_resampling`.
    """

    step: int
    phases: int
    reach: int
    width: int
    rolloff: float
    beta: float | None
    dtype: np.dtype


def design(
    rate: int,
    target: int,
    *,
    width: int,
    rolloff: float,
    beta: float | None,
    precision: type[np.floating],
) -> Design:
    """The filters from `rate` to `target`, both in Hz; the ratio is reduced first, so that few are needed.

    Args:
        rate: of the inputs.
        target: of the outputs.
        width: zero crossings on either side; torchaudio's `lowpass_filter_width`.
        rolloff: cutoff as a share of the lower Nyquist frequency.
        beta: of a Kaiser window; None is a squared cosine ("sinc_interp_hann").
        precision: in which the filters are made.

    Raises:
        ValueError: a rate that is not positive.
    """
    if rate <= 0 or target <= 0:
        raise ValueError(f"cannot resample from {rate} Hz to {target} Hz")
    common = math.gcd(rate, target)
    step, phases = rate // common, target // common
    reach = math.ceil(width * step / (min(step, phases) * rolloff))
    return Design(step, phases, reach, width, rolloff, beta, np.dtype(precision))


@functools.lru_cache(maxsize=8)
def filters(
    design: Design,
) -> tuple[Int[np.ndarray, " phases"], Float[np.ndarray, "phases taps"]]:
    """(where each filter begins in a wave extended by `reach`, its 2 reach weights, all others being zero)."""
    phase = np.arange(design.phases)
    first = -(-phase * design.step // design.phases)
    place = first[:, None] + np.arange(-design.reach, design.reach)
    return first, _weights(design, place, phase[:, None])


def kernel(design: Design) -> Float[np.ndarray, "taps 1 phases"]:
    """The filters as one convolution of stride `step` over a wave extended by `reach`, a channel a phase.

    It has taps for the inputs of all phases: (2 reach + step) phases weights at most, of which 2 reach a phase count.
    """
    first, weights = filters(design)
    dense = np.zeros((int(first[-1]) + 2 * design.reach, 1, design.phases), weights.dtype)
    phase = np.arange(design.phases)[:, None]
    dense[first[:, None] + np.arange(2 * design.reach), 0, phase] = weights
    return dense


def _weights(
    design: Design, place: Int[np.ndarray, "#a #b"], phase: Int[np.ndarray, "#a #b"]
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
