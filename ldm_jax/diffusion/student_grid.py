"""The noise levels that a distilled student is trained at, and sampled at.

Every rule returns `Levels` in float64 with the cleanest first: index `steps` is the noisiest. Training
(`ldm_jax.distill.grid`) and sampling (`samplers.students`) read the same numbers.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from ldm_jax.diffusion import spacing
from ldm_jax.diffusion.schedules import Schedule


class Levels(NamedTuple):
    """Levels z = alpha x0 + sigma eps, cleanest first.

    Attributes:
        timesteps: what the network is asked at; not always integers.
        alpha: scale of the signal.
        sigma: scale of the noise.
    """

    timesteps: Float64[np.ndarray, " levels"]
    alpha: Float64[np.ndarray, " levels"]
    sigma: Float64[np.ndarray, " levels"]


def of_edm_sigma(
    timesteps: Float64[np.ndarray, " levels"], edm_sigma: Float64[np.ndarray, " levels"]
) -> Levels:
    """The variance preserving levels with these sigma / alpha."""
    alpha = 1 / np.hypot(1, edm_sigma)
    return Levels(timesteps, alpha, edm_sigma * alpha)


def progressive(schedule: Schedule, steps: int, *, pure_noise: bool = False) -> Levels:
    """Levels u = i / steps, i = 0 .. steps, of progressive distillation on a discrete schedule.

    Salimans and Ho (arXiv:2202.00512) step through a continuous u, 0 clean and 1 noise. u is timestep
    T u - 1 here; between timesteps sigma / alpha is linear. The grid of `steps` is every k-th level of the
    grid of k `steps`, to the bit.

    Index 0 is exactly clean, alpha = 1 and sigma = 0: a last step ends there, and no network is asked.

    Args:
        schedule: of the teacher.
        steps: 1 to T.
        pure_noise: whether the noisiest level is alpha = 0, sigma = 1, from which a sampler can start,
            in place of the schedule's last, which for Stable Diffusion's or AudioLDM's keeps a trace of signal.

    Raises:
        ValueError: `steps` outside 1 .. T.
    """
    if not 1 <= steps <= schedule.train_steps:
        raise ValueError(
            f"This schedule can be stepped through in 1 to {schedule.train_steps} steps, but got {steps}."
        )
    # Multiplied first, so that equal fractions of different grids round alike.
    timesteps = schedule.train_steps * np.arange(steps + 1) / steps - 1
    _, alpha, sigma = of_edm_sigma(timesteps, spacing.edm_sigma_at(schedule, timesteps))
    # `edm_sigma` is kept finite; a schedule that ends in pure noise has to end there exactly.
    noisiest = (0.0, 1.0) if pure_noise else (schedule.alpha[-1], schedule.sigma[-1])
    alpha[-1], sigma[-1] = noisiest
    alpha[0], sigma[0] = 1.0, 0.0
    return Levels(timesteps, alpha, sigma)


def uniform(schedule: Schedule, points: int = 18) -> Levels:
    """ConsistencyTTA's grid (arXiv:2309.10740): `points` timesteps equally spaced over 0 .. T - 1.

    sigma / alpha is linear between timesteps. The cleanest level is timestep 0, which is not quite clean.

    Raises:
        ValueError: `points` outside 2 .. T.
    """
    _check_points(schedule, points)
    timesteps = np.linspace(0, schedule.train_steps - 1, points)
    return of_edm_sigma(timesteps, spacing.edm_sigma_at(schedule, timesteps))


def karras(schedule: Schedule, points: int = 18, rho: float = 7.0) -> Levels:
    """Levels between the same ends as `uniform`'s, equally spaced in (sigma / alpha)^(1 / rho).

    Karras et al. (arXiv:2206.00364), equation 5. Timesteps are fractional; see `spacing.timestep_of`.

    Raises:
        ValueError: `points` outside 2 .. T.
    """
    _check_points(schedule, points)
    ends = float(schedule.edm_sigma[-1]), float(schedule.edm_sigma[0])
    edm_sigma = spacing.karras(*ends, points, rho=rho)[::-1].copy()
    edm_sigma[-1], edm_sigma[0] = ends  # to the bit, so that the cleanest timestep is 0
    return of_edm_sigma(spacing.timestep_of(schedule, edm_sigma), edm_sigma)


def _check_points(schedule: Schedule, points: int) -> None:
    if not 2 <= points <= schedule.train_steps:
        raise ValueError(
            f"A grid on this schedule has 2 to {schedule.train_steps} points, but got {points}."
        )
