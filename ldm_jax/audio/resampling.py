"""Changing the sample rate, by soxr's high-quality filter (flat to 0.91 of the Nyquist frequency, -120 dB beyond)."""

import numpy as np
import soxr
from jaxtyping import Float

QUALITY = "HQ"


def resample(
    wave: Float[np.ndarray, "*batch samples"], rate: int, target: int
) -> Float[np.ndarray, "*batch resampled"]:
    """The wave at `target` Hz, with the delay of the filter taken out: round(samples target / rate) samples.

    Raises:
        ValueError: a rate that is not positive.
    """
    if rate <= 0 or target <= 0:
        raise ValueError(f"cannot resample from {rate} Hz to {target} Hz")
    if rate == target:
        return wave
    flat = wave.reshape(-1, wave.shape[-1])
    out = soxr.resample(np.ascontiguousarray(flat.T), rate, target, quality=QUALITY).T
    return np.ascontiguousarray(out).reshape(*wave.shape[:-1], out.shape[-1])


class Resampler:
    """`resample` for a mono wave that comes in blocks: the pieces together are what the whole gives."""

    def __init__(self, rate: int, target: int):
        if rate <= 0 or target <= 0:
            raise ValueError(f"cannot resample from {rate} Hz to {target} Hz")
        self._stream = (
            None
            if rate == target
            else soxr.ResampleStream(rate, target, 1, dtype="float32", quality=QUALITY)
        )

    def __call__(
        self, block: Float[np.ndarray, " samples"], *, last: bool = False
    ) -> Float[np.ndarray, " resampled"]:
        """What has become certain with this block; with `last`, all that remains."""
        block = np.asarray(block, np.float32)
        return block if self._stream is None else self._stream.resample_chunk(block, last=last)
