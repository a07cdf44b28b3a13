"""A wave and settings on which Kaldi's filter bank is compared."""

from typing import Any

import numpy as np

from tests.golden import random_array

CASES: dict[str, dict[str, Any]] = {
    "audiomae": {"bins": 128},
    "speech": {
        "bins": 23,
        "sample_rate": 22_050,
        "frame_ms": 30.0,
        "shift_ms": 7.0,
        "low_hz": 60.0,
    },
}


def wave(samples: int = 3_600) -> np.ndarray:
    """A rising tone, growing noise, an offset, a stretch of silence; float32 values in float64."""
    t = np.arange(samples) / 16_000
    x = 0.3 * np.sin(2 * np.pi * (200 * t + 9_000 * t * t)) + 0.02
    x += 0.05 * random_array("wave", (samples,)) * np.linspace(0, 1, samples)
    x[1_000:2_000] = 0.0
    return x.astype(np.float32).astype(np.float64)
