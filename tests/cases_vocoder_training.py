"""HiFi-GAN's losses for the tests: narrow networks and inputs. No torch."""

import numpy as np

from tests import cases_vocoder
from tests.golden import random_array, random_tensors

VOCODER = cases_vocoder.TINY["rates_of_16k"]
NARROWING = 8  # of the discriminators' widths
SAMPLES, FRAMES = 1632, 10  # as many as the generator makes of so many frames
MEL = {"sample_rate": 16_000, "n_fft": 512, "fmin": 0.0, "fmax": 6_000.0}
LOSS_FMAX = 8_000.0


def inputs() -> dict[str, np.ndarray]:
    """A wave within [-1, 1]."""
    return {"wave": np.tanh(0.3 * random_array("wave", (2, SAMPLES)))}


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Of the discriminators."""
    return random_tensors(shapes, gain=1.5)
