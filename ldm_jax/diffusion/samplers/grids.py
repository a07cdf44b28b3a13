"""The noise levels between which a sampler steps."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from ldm_jax.diffusion import spacing as spacings
from ldm_jax.diffusion.schedules import Schedule


class Level(NamedTuple):
    """A noise level: z = alpha x0 + sigma eps."""

    alpha: float
    sigma: float

    @property
    def edm_sigma(self) -> float:
        """The ratio sigma / alpha."""
        return self.sigma / self.alpha

    @property
    def half_log_snr(self) -> float:
        """log(alpha / sigma), the lambda of DPM-Solver; infinite at the clean end."""
        return math.log(self.alpha / self.sigma) if self.sigma else math.inf


CLEAN = Level(1.0, 0.0)


def level_of(edm_sigma: float) -> Level:
    """The variance preserving level with this sigma / alpha."""
    alpha = 1 / math.hypot(1.0, edm_sigma)
    return Level(alpha, edm_sigma * alpha)


class Step(NamedTuple):
    """From level `here`, where the network is asked at `timestep`, to level `there`."""

    timestep: float
    here: Level
    there: Level


@dataclasses.dataclass(frozen=True)
class Grid:
    """The steps of a run, noisiest first.

    Attributes:
        schedule: the levels of all timesteps.
        steps: from level to level.
        stride: timesteps in a step, where that is one number.
        init_noise_sigma: scale of the initial latents.
    """

    schedule: Schedule
    steps: tuple[Step, ...]
    stride: int = 0
    init_noise_sigma: float = 1.0


def level_at(schedule: Schedule, timestep: int) -> Level:
    """The schedule's level at a timestep; before timestep 0, that of timestep 0.

    The latter is how AudioLDM 2 ends (`set_alpha_to_one` false): a trace of noise, 1 -
    alphas_cumprod[0], stays.
    """
    kept = float(schedule.alphas_cumprod[max(timestep, 0)])
    return Level(math.sqrt(kept), math.sqrt(1 - kept))


def strided(schedule: Schedule, *, steps: int, spacing: str, steps_offset: int) -> Grid:
    """Integer timesteps, each step as long as the stride floor(T / steps): the grid of DDIM, PNDM.

    With spacings "leading" and "official" a step ends where the next begins. With the others it may
    end beside that, unless "trailing" and steps divides T: as in diffusers.
    """
    visited = spacings.timesteps(
        spacing, train_steps=schedule.train_steps, steps=steps, offset=steps_offset
    )
    stride = schedule.train_steps // steps
    ends = ((int(t), int(t) - stride) for t in visited)
    return Grid(
        schedule,
        tuple(Step(float(t), level_at(schedule, t), level_at(schedule, s)) for t, s in ends),
        stride=stride,
    )


def chained(
    schedule: Schedule, timesteps: np.ndarray, edm_sigmas: np.ndarray, *, init_noise_sigma: float
) -> Grid:
    """Steps from each sigma / alpha to the next, and from the last to clean data."""
    levels = [*(level_of(float(sigma)) for sigma in edm_sigmas), CLEAN]
    paired = zip(timesteps, levels[:-1], levels[1:], strict=True)
    steps = tuple(Step(float(t), here, there) for t, here, there in paired)
    return Grid(schedule, steps, init_noise_sigma=init_noise_sigma)


def log_snr_grid(
    schedule: Schedule, *, steps: int, spacing: str, steps_offset: int, karras: bool = False
) -> Grid:
    """The grid of DPM-Solver and UniPC: integer timesteps, standard normal initial latents.

    With `karras` the levels run over the whole schedule whatever the spacing, and the network is
    asked at the nearest timestep.
    """
    visited = spacings.timesteps(
        spacing,
        train_steps=schedule.train_steps,
        steps=steps,
        offset=steps_offset,
        count_the_end=True,
    )
    sigmas = spacings.edm_sigma_at(schedule, visited)
    if karras:
        ends = float(schedule.edm_sigma[-1]), float(schedule.edm_sigma[0])
        sigmas = spacings.karras(*ends, steps)
        visited = spacings.timestep_of(schedule, sigmas).round()
    return chained(schedule, visited, sigmas, init_noise_sigma=1.0)


def edm_grid(
    schedule: Schedule, *, steps: int, spacing: str, steps_offset: int, karras: bool = False
) -> Grid:
    """The grid of k-diffusion's samplers (Euler, Heun, LMS): fractional timesteps.

    With `karras` the levels lie between those that the spacing begins and ends at. The initial
    latents are pure noise at the first level's own sigma with "trailing" and "linspace", and
    standard normal otherwise.
    """
    visited = spacings.timesteps(
        spacing, train_steps=schedule.train_steps, steps=steps, offset=steps_offset, whole=False
    )
    sigmas = spacings.edm_sigma_at(schedule, visited)
    if karras:
        sigmas = spacings.karras(float(sigmas[0]), float(sigmas[-1]), steps)
        visited = spacings.timestep_of(schedule, sigmas)
    scale = level_of(float(sigmas[0])).sigma if spacing in ("trailing", "linspace") else 1.0
    return chained(schedule, visited, sigmas, init_noise_sigma=scale)
