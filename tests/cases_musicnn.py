"""Random weights and inputs of musicnn. No TensorFlow."""

from collections.abc import Mapping

import numpy as np

from tests.golden import random_array

PUBLISHED_PARAMETERS = 792_079  # with the batch norms' statistics
FRAMES = (187, 40)  # the network has no length of its own
WAVES = {"whole": 160_000, "odd": 50_001, "short": 20_000}  # samples at 16 kHz
LEVEL = 0.1  # of the waves: the package overflows in 16 bits where a tone has an amplitude of 0.2

# What tests/golden/tf_bundle holds, as TensorFlow wrote it, beside a tensor of strings.
BUNDLE_SHAPES = {f"layer_{i}/kernel": (i % 4, 3) for i in range(1, 40)} | {"scalar": ()}
BUNDLE_TYPES = ("float32", "float64", "float16", "int32", "int64", "uint8", "bool")


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Under which the network carries a signal, in the published names; rounded to float32, in float64."""
    tensors = {}
    for name, shape in shapes.items():
        x = random_array(name, shape)
        part = name.rpartition("/")[2]
        if part == "kernel":
            x = 1.4 * x / np.sqrt(np.prod(shape[:-1]))
        elif part in ("gamma", "moving_variance"):
            x = 1 + 0.3 * np.tanh(x)
        else:
            x = 0.1 * x
        tensors[name] = x.astype(np.float32).astype(np.float64)
    return tensors


def log_mel(frames: int) -> np.ndarray:
    """(2, frames, 96), from 0 to about 4 as spectrograms are."""
    return np.abs(random_array("musicnn", (2, 187, 96)))[:, :frames]


def bundle() -> dict[str, np.ndarray]:
    """The arrays of `BUNDLE_SHAPES`, in all of `BUNDLE_TYPES` by turns."""
    tensors = {}
    for i, (name, shape) in enumerate(BUNDLE_SHAPES.items()):
        x = 100 * np.abs(random_array(name, shape))
        tensors[name] = np.asarray(x).astype(BUNDLE_TYPES[i % len(BUNDLE_TYPES)])
    return tensors
