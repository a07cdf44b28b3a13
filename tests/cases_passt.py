"""A small PaSST and its inputs. No torch."""

import numpy as np

from ldm_jax.models.passt import PaSST
from tests.golden import random_array, random_tensors

SMALL = PaSST(embed_dim=128, depth=2, heads=2)
PUBLISHED = PaSST()
PUBLISHED_PARAMETERS = 85_748_495  # without head_dist, which evaluation does not use
FRAMES = (998, 1000, 137, 16)
WAVES = {"whole": 320_000, "odd": 50_001, "short": 1_000}  # samples at 32 kHz


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    return random_tensors(shapes)


def log_mel(frames: int) -> np.ndarray:
    """(2, frames, 128)."""
    return 0.5 * random_array("passt", (2, 1000, 128))[:, :frames]
