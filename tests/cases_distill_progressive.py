"""Cases of progressive distillation: what Salimans and Ho's code is run on, with a tiny network. No torch."""

import jax.numpy as jnp
import numpy as np

from tests.golden import random_array

# Students of so many steps, and so many clips of each, which go through all steps i = 0 .. N - 1.
STUDENTS = (1, 2, 4)
BATCH = 4
LATENT = (3, 2, 2)
INDICES = np.array([np.arange(BATCH) % steps for steps in STUDENTS])
# Whatever any of them and its teacher is asked lies at u = k / FINEST.
FINEST = 8

PREDICTIONS = {"eps": "eps", "x0": "x", "v": "v"}  # our names and theirs
WEIGHTINGS = {
    "uniform": "constant",
    "snr": "snr",
    "truncated": "snr_trunc",
    "snr_plus_one": "v_mse",
}

# One round of training, 4 steps to 2, by their recipe: Adam, clipped gradients, a rate that falls to 0 in a straight
# line.
ROUND_PREDICTION, ROUND_WEIGHTING, ROUND_STUDENT = "v", "truncated", 2
UPDATES, KEPT_EVERY = 200, 20
LEARNING_RATE, CLIP_NORM = 1e-2, 0.1  # of some updates

CHANNELS, HIDDEN = LATENT[-1], 6
_SHAPES = ((CHANNELS, HIDDEN), (CHANNELS, HIDDEN), (1, HIDDEN), (HIDDEN, CHANNELS))
PARAMETERS = sum(int(np.prod(shape)) for shape in _SHAPES)


def exact(values: np.ndarray) -> np.ndarray:
    """Rounded to float32, so that both precisions see the same."""
    return values.astype(np.float32).astype(np.float64)


def teacher() -> np.ndarray:
    """Parameters, one vector."""
    return exact(0.7 * random_array("progressive/teacher", (PARAMETERS,)))


def student() -> np.ndarray:
    """Parameters near the teacher's, as somewhere in training."""
    return exact(teacher() + 0.2 * random_array("progressive/student", (PARAMETERS,)))


def clips() -> tuple[np.ndarray, np.ndarray]:
    """(x0, eps), each (students, batch, *latent)."""
    shape = (len(STUDENTS), BATCH, *LATENT)
    x0, eps = (exact(random_array(f"progressive/{name}", shape)) for name in ("x0", "eps"))
    return x0, eps


def noise() -> np.ndarray:
    """Where a sampler starts, (batch, *latent)."""
    return exact(random_array("progressive/noise", (BATCH, *LATENT)))


def stream() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x0, eps, i) of every update of the round, each (updates, batch, ...)."""
    shape = (UPDATES, BATCH, *LATENT)
    x0 = 0.5 + 0.3 * random_array("progressive/round/x0", shape)
    indices = random_array("progressive/round/i", shape[:2]) > 0
    return x0, random_array("progressive/round/eps", shape), indices.astype(np.int64)


def network(parameters, z, log_snr):
    """A network's raw output at z, (batch, *latent), and log SNR, (batch,).

    It reads time as theirs do, arctan(exp(-log_snr / 2)) / (pi / 2), and mixes neighbours along the second axis.
    """
    ends = np.cumsum([int(np.prod(shape)) for shape in _SHAPES])[:-1]
    parts = jnp.split(parameters, ends)
    inside, beside, late, outside = (x.reshape(s) for x, s in zip(parts, _SHAPES, strict=True))
    time = jnp.arctan(jnp.exp(-log_snr / 2)) / (jnp.pi / 2)
    time = time.reshape(-1, 1, 1, 1) * late.reshape(1, 1, 1, HIDDEN)
    hidden = jnp.tanh(z @ inside + jnp.roll(z, 1, axis=1) @ beside + time)
    return hidden @ outside
