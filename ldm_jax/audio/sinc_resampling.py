"""Changing the sample rate by a short windowed sinc, as torchaudio's `resample` does.

Evaluation tools use it, and a figure depends on the resampler; to resample for its own sake take `resampling`.
"""

import functools
import math

import numpy as np
from jaxtyping import Float

_BLOCK = 1 << 22  # numbers in the gathered frames, 32 MiB


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
    kernel = _kernel(step, phases, width, rolloff, beta, np.dtype(precision)).astype(wave.dtype)
    before = (kernel.shape[0] - step) // 2
    count = len(wave) // step + 1
    padded = np.pad(wave, (before, before + step))
    strides = (step * padded.strides[0], padded.strides[0])
    parts = np.lib.stride_tricks.as_strided(
        padded, (count, kernel.shape[0]), strides, writeable=False
    )
    rows = max(1, _BLOCK // kernel.shape[0])
    out = np.concatenate([parts[i : i + rows] @ kernel for i in range(0, count, rows)])
    return out.reshape(-1)[: -(-target * len(wave) // rate)]


@functools.lru_cache(maxsize=32)
def _kernel(
    step: int, phases: int, width: int, rolloff: float, beta: float | None, dtype: np.dtype
) -> Float[np.ndarray, "taps phases"]:
    cutoff = min(step, phases) * rolloff
    reach = math.ceil(width * step / cutoff)
    place = np.arange(-reach, reach + step, dtype=dtype)[:, None] / dtype.type(step)
    # torchaudio divides whole numbers here, which gives float32 whatever the rest is made in.
    phase = np.arange(0, -phases, -1, dtype=np.float32)[None] / np.float32(phases)
    t = np.clip((phase + place) * dtype.type(cutoff), -width, width).astype(dtype)
    if beta is None:
        window = np.cos(t * dtype.type(np.pi) / width / 2) ** 2
    else:
        window = np.i0(beta * np.sqrt(np.maximum(1 - (t / width) ** 2, 0))) / np.i0(beta)
    return (np.sinc(t) * window * dtype.type(cutoff / step)).astype(dtype)
