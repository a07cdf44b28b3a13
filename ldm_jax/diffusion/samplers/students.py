"""Samplers of distilled students, on the levels that they were trained at."""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Float64, Int64

from ldm_jax.diffusion import parameterization, spacing, student_grid, tables
from ldm_jax.diffusion.samplers.grids import CLEAN, Grid, Level, Step, level_of
from ldm_jax.diffusion.samplers.one_step import ddim_calls
from ldm_jax.diffusion.samplers.symbolic import Call, read, symbols, tabulate
from ldm_jax.diffusion.sampling import Plan
from ldm_jax.diffusion.schedules import Schedule


def progressive_plan(
    schedule: Schedule,
    *,
    steps: int,
    prediction: str,
    pure_noise: bool = False,
    stochastic: bool = False,
) -> Plan:
    """A progressive student's run, from standard normal latents to x0 in `steps` calls.

    Deterministic, it is DDIM from each level of the student's own grid to the next, and ends exactly clean.

    Stochastic, it is the sampler of Meng et al. (arXiv:2210.03142): every call makes a DDIM step of double
    length, from u to u - 2 / steps, and fresh noise leads one step back, to u - 1 / steps. So it suits a
    student of `steps` / 2 steps that was trained at the levels between its own, too
    (`distill.progressive.Chain.teacher_path`).

    Args:
        schedule: of the teacher.
        steps: levels, and calls.
        prediction: what the student predicts, "eps", "x0" or "v".
        pure_noise: as the student was trained; see `student_grid.progressive`.
        stochastic: whether to use the stochastic sampler.

    Raises:
        ValueError: `steps` outside the schedule, no such prediction, or eps at zero signal.
    """
    timesteps, *scales = student_grid.progressive(schedule, steps, pure_noise=pure_noise)
    levels = [Level(float(alpha), float(sigma)) for alpha, sigma in zip(*scales, strict=True)]
    laid = tuple(Step(float(timesteps[i]), levels[i], levels[i - 1]) for i in range(steps, 0, -1))
    calls = _there_and_back if stochastic else ddim_calls
    return tabulate(calls(Grid(schedule, laid), prediction=prediction), init_noise_sigma=1.0)


def _there_and_back(grid: Grid, *, prediction: str) -> Iterator[Call]:
    """Two levels on by DDIM, and one back by noise; the last call, one level from clean data, ends there.

        z'' = alpha'' x0 + sigma'' eps;   z' = a z'' + sqrt(sigma'^2 - a^2 sigma''^2) noise

    with a = alpha' / alpha''.
    """
    x, output, noise = symbols(memory=0)
    for step, after in itertools.zip_longest(grid.steps, grid.steps[1:], fillvalue=grid.steps[-1]):
        x0, eps = read(prediction, output, x, step.here)
        a = step.there.alpha / after.there.alpha
        fresh = math.sqrt(step.there.sigma**2 - (a * after.there.sigma) ** 2)
        yield (
            step.timestep,
            [a * (after.there.alpha * x0 + after.there.sigma * eps) + fresh * noise],
        )


def few_step_indices(points: int, steps: int) -> Int64[np.ndarray, " steps"]:
    """Indices into a training grid at which `steps` consistency calls are made, noisiest first.

    Index 0 is the cleanest level. It is never used: to add its trace of noise and remove it again changes nothing.
    The others are spread evenly from the noisiest on, rounded towards noise:

        points - 1 - floor(k (points - 1) / steps),   k = 0 .. steps - 1

    so 17 for one step on 18 points; 17, 9 for two; 17, 13, 9, 5 for four. LCM's inference
    (arXiv:2310.04378) does so too.

    Raises:
        ValueError: fewer than 1 step, or more than there are points besides the cleanest.
    """
    if not 1 <= steps < points:
        raise ValueError(
            f"A student trained on {points} points samples in 1 to {points - 1} steps, but got {steps}."
        )
    return points - 1 - np.arange(steps) * (points - 1) // steps


def few_step_times(
    grid_timesteps: Float[np.ndarray, " points"], steps: int
) -> Float[np.ndarray, " steps"]:
    """The timesteps of `few_step_indices`, noisiest first.

    ConsistencyTTA's own code lays a new uniform grid of `steps` points, from T - 1 to 0: its second of two
    calls is nearly a no-op, and its third timesteps were never trained.

    Args:
        grid_timesteps: of the training grid, cleanest first.
        steps: calls.

    Raises:
        ValueError: see `few_step_indices`; or timesteps that do not rise.
    """
    if (np.diff(grid_timesteps) <= 0).any():
        raise ValueError(
            "A training grid's timesteps must rise from the cleanest to the noisiest, but got "
            f"{grid_timesteps[0]:g} to {grid_timesteps[-1]:g}."
        )
    return grid_timesteps[few_step_indices(len(grid_timesteps), steps)]


def consistency_plan(
    schedule: Schedule,
    *,
    timesteps: Float64[np.ndarray, " calls"] | Sequence[float],
    prediction: str,
    edm_sigmas: Float64[np.ndarray, " calls"] | None = None,
) -> Plan:
    """A consistency model's run (Song et al., arXiv:2303.01469, algorithm 1), one call a timestep.

        x0 = network(z, timestep);   z' = alpha' x0 + sigma' noise,  at the next timestep's level

    and the last x0 is the sample. The first latents are noise alone, at the first level's own scale: sigma,
    which is sigma_max / sqrt(sigma_max^2 + 1) of ConsistencyTTA's edm sigma (arXiv:2309.10740).

    Args:
        schedule: of the teacher.
        timesteps: noisiest first; from `few_step_times`.
        prediction: what the network's output is read as, "x0" for ConsistencyTTA's.
        edm_sigmas: sigma / alpha at the timesteps. By default the schedule's, linear between timesteps;
            those of a Karras grid differ a little.

    Raises:
        ValueError: timesteps that do not fall, or leave the schedule; none; no such prediction.
    """
    asked = np.asarray(timesteps, np.float64)
    last = schedule.train_steps - 1
    if not len(asked) or asked.max() > last or asked.min() < 0 or (np.diff(asked) >= 0).any():
        raise ValueError(
            f"Consistency sampling takes falling timesteps in 0 to {last}, but got {asked.tolist()}."
        )
    known = spacing.edm_sigma_at(schedule, asked) if edm_sigmas is None else edm_sigmas
    levels = [level_of(float(sigma)) for sigma in known]
    to_x0 = tables.choose(parameterization.TO_X0, prediction, what="The prediction")
    x, output, noise = symbols(memory=0)
    calls = [
        (float(timestep), [there.alpha * to_x0(output, x, *here) + there.sigma * noise])
        for timestep, here, there in zip(asked, levels, [*levels[1:], CLEAN], strict=True)
    ]
    return tabulate(calls, init_noise_sigma=levels[0].sigma)
