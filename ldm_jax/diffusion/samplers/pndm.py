"""PNDM: pseudo Runge-Kutta steps to warm up, then pseudo linear multistep.

Liu et al. (arXiv:2202.09778). The network's outputs themselves are combined, and the combination
is read at the start of the step. With v-prediction this differs from combining eps; it is what
diffusers computes.
"""

import itertools
from collections.abc import Iterator

from ldm_jax.diffusion.samplers.grids import Grid, Level, level_at
from ldm_jax.diffusion.samplers.symbolic import Call, Symbol, read, symbols

WARM_UP_STEPS = 3


def pndm_calls(grid: Grid, *, prediction: str) -> Iterator[Call]:
    """PNDM's calls: four in each of the first three steps, one in each of the others, so steps + 9.

    The carry holds z, the z the step started from, the weighted sum of the step's outputs, and the
    last three outputs at the start of a step.
    """
    x, start, total, *past, output, _ = symbols(memory=5)
    timesteps = [int(step.timestep) for step in grid.steps]

    def move(latents: Symbol, combined: Symbol, timestep: int, target: int) -> Symbol:
        here, there = level_at(grid.schedule, timestep), level_at(grid.schedule, target)
        return transfer(prediction, latents, combined, here, there)

    half = grid.stride // 2
    for t, s in itertools.pairwise(timesteps[: WARM_UP_STEPS + 1]):
        # The middle of the step lies half a stride above its end. As in diffusers, the first call
        # moves to half a stride below its start instead, one timestep beside the middle where the
        # stride is odd.
        m = s + half
        history = [output, *past[:-1]]
        yield float(t), [move(x, output, t, t - half), x, output / 6, *history]
        yield float(m), [move(start, output, t, m), start, total + output / 3, *past]
        yield float(m), [move(start, output, t, s), start, total + output / 3, *past]
        yield float(s), [move(start, total + output / 6, t, s), start, total, *past]
    for t in timesteps[WARM_UP_STEPS:]:
        e0, e1, e2, e3 = output, *past
        combined = (55 * e0 - 59 * e1 + 37 * e2 - 9 * e3) / 24
        yield float(t), [move(x, combined, t, t - grid.stride), start, total, e0, e1, e2]


def transfer(prediction: str, latents: Symbol, output: Symbol, here: Level, there: Level) -> Symbol:
    """The paper's transfer: a deterministic DDIM step."""
    x0, eps = read(prediction, output, latents, here)
    return there.alpha * x0 + there.sigma * eps
