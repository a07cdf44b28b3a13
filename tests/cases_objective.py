"""Objective cases, torch-free: what diffusers' training scripts compute on fixed arrays."""

import numpy as np

from tests.golden import random_array

TIMESTEPS = np.array([0, 1, 150, 400, 700, 999])
SHAPE = (len(TIMESTEPS), 4, 3, 2)
GAMMA = 5.0
# (mean, std) of logit-normal densities, and how their draws are counted.
LOGIT_NORMALS = ((0.0, 1.0), (-0.5, 0.8))
DRAWS, BINS = 200_000, 25


def arrays() -> dict[str, np.ndarray]:
    """Clean latents, noise, and what a network might say, exact in float32."""
    return {
        name: random_array(f"objective/{name}", SHAPE).astype(np.float32)
        for name in ("latents", "noise", "output")
    }
