"""How a long clip becomes stretches that a network of 10 s can hear."""

import numpy as np
from jaxtyping import Float

_SMALL = 0.15  # of a window: what is left and no longer than this is not filled up


def overlapping(
    wave: Float[np.ndarray, " samples"], *, window: int, step: int
) -> list[Float[np.ndarray, " part"]]:
    """Stretches of `window` samples every `step`, as stable-audio-metrics cuts them.

    Of a clip longer than a window, the last stretch is the one that begins before its last `step` samples. A stretch
    that the end cuts short is filled up with silence, but for one of at most 15 % of a window, which stays short.
    """
    parts = []
    for start in range(0, max(step, len(wave) - step), step):
        part = wave[start : start + window]
        if _SMALL * window < len(part) < window:
            part = np.pad(part, (0, window - len(part)))
        parts.append(part)
    return parts
