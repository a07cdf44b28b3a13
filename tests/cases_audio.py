"""Waves on which the front ends are compared with the peers' programs. No torch."""

import numpy as np

from ldm_jax.audio.log_mel import CENTRED_16K, MEL_16K, MEL_48K
from tests.golden import random_array

SETTINGS = {"16k": MEL_16K, "48k": MEL_48K, "centred": CENTRED_16K}
# Samples: 10.24 s; an odd number; the fewest that can be reflected, which is less than a window.
LOG_MEL = {
    ("16k", 163_840),
    ("16k", 7_681),
    ("16k", 433),
    ("48k", 491_520),
    ("48k", 12_345),
    ("48k", 785),
    ("centred", 163_840),
    ("centred", 7_681),
    ("centred", 513),
}
CLAP = (480_000, 100_001, 513)  # samples at 48 kHz, as they are
KALDI = (163_840, 7_681, 400)  # samples at 16 kHz


def wave(samples: int, rate: int) -> np.ndarray:
    """Like a recording: struck notes with overtones that die away, a sweep, hiss, a pause; float32 values in float64.

    In the pause the hiss is as weak as the last of 16 bits.
    """
    t = np.arange(samples) / rate
    x = 0.05 * np.sin(2 * np.pi * (100 * t + 350 * t**2)) * np.sin(0.6 * t) ** 2
    for start in np.arange(0, samples / rate, 0.45):
        age = np.clip(t - start, 0, None)
        pitch = 110 * 2 ** ((start * 7) % 3)
        note = sum(
            np.sin(2 * np.pi * pitch * k * age) * np.exp(-3 * k * age) / k for k in (1, 2, 3, 5)
        )
        x += 0.15 * np.where(t >= start, note, 0)
    x += 0.003 * random_array("hiss", (samples,)) * (1.2 + np.sin(2 * np.pi * 0.3 * t))
    x[int(0.5 * samples) : int(0.55 * samples)] *= 1e-2
    return x.astype(np.float32).astype(np.float64)


def kept(frames: int) -> slice:
    """The frames of which a golden file holds the numbers."""
    return slice(None, None, max(1, frames // 12))
