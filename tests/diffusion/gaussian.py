"""Data whose perfect denoiser is known: x0 ~ N(MEAN, STD^2), independent in every coordinate."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ldm_jax.diffusion import parameterization, sampling, spacing
from ldm_jax.diffusion.samplers.grids import Level, level_of
from ldm_jax.diffusion.sampling import Plan
from ldm_jax.diffusion.schedules import Schedule

MEAN, STD = 0.7, 0.5


def denoiser(prediction: str) -> sampling.Denoiser:
    """E[x0 | z] in the wanted kind of prediction; its extra is the call's (alpha, sigma)."""

    def predict(z: Any, timestep: Any, level: Any) -> Any:
        alpha, sigma = level
        x0 = MEAN + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (z - alpha * MEAN)
        return parameterization.convert(
            x0, z, source="x0", target=prediction, alpha=alpha, sigma=sigma
        )

    return predict


def levels(schedule: Schedule, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """(alpha, sigma) at the plan's timesteps."""
    sigmas = spacing.edm_sigma_at(schedule, plan.timesteps)
    alpha, sigma = np.array([level_of(float(s)) for s in sigmas]).T
    return alpha, sigma


def flow(z: np.ndarray, here: Level, there: Level) -> np.ndarray:
    """Where the probability flow takes z from one level to another, exactly."""
    deviation = [np.hypot(level.alpha * STD, level.sigma) for level in (here, there)]
    return there.alpha * MEAN + deviation[1] / deviation[0] * (z - here.alpha * MEAN)


def run(plan: Plan, extras: Any, z: np.ndarray, prediction: str = "eps", noise: Any = None) -> Any:
    """The sample from initial latents z, in float64, by one compiled scan."""
    with jax.enable_x64(True):

        @jax.jit
        def compiled(plan: Plan, z: Any, noise: Any, extras: Any) -> Any:
            return sampling.sample(denoiser(prediction), plan, z, call_noise=noise, extras=extras)

        extras = jax.tree.map(jnp.asarray, extras)
        return np.asarray(compiled(plan, jnp.asarray(z) / plan.init_noise_sigma, noise, extras))
