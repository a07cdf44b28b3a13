"""Samplers by name, each laid out as a `Plan` that `sampling.sample` runs.

Names and behaviour follow diffusers' schedulers made `from_config` of AudioLDM 2's scheduler
configuration: the whole trajectory is the same, whatever the spacing, prediction and number of
steps (see tests/parity/test_samplers.py).
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

from ldm_jax.diffusion import tables
from ldm_jax.diffusion.samplers import dpm, grids, k_diffusion, one_step, pndm
from ldm_jax.diffusion.samplers.grids import Grid
from ldm_jax.diffusion.samplers.symbolic import Call, tabulate
from ldm_jax.diffusion.sampling import Plan
from ldm_jax.diffusion.schedules import Schedule


@dataclasses.dataclass(frozen=True)
class Sampler:
    """How a sampler lays its noise levels, and what it computes between them.

    Attributes:
        grid: `(schedule, *, steps, spacing, steps_offset)` to a grid; with `karras` if true.
        calls: `(grid, *, prediction)` to the calls; with `eta` if true.
        predictions: kinds of prediction it takes.
        karras: whether it can use Karras' noise levels.
        eta: whether its noise can be chosen.
        minimum: fewest steps.
    """

    grid: Callable[..., Grid]
    calls: Callable[..., Iterator[Call]]
    predictions: tuple[str, ...] = ("eps", "x0", "v")
    karras: bool = False
    eta: bool = False
    minimum: int = 1


SAMPLERS = {
    "ddim": Sampler(grids.strided, one_step.ddim_calls, eta=True),
    "dpmsolver++": Sampler(
        grids.log_snr_grid, functools.partial(dpm.dpm_calls, stochastic=False), karras=True
    ),
    "dpmsolver++-sde": Sampler(
        grids.log_snr_grid, functools.partial(dpm.dpm_calls, stochastic=True), karras=True
    ),
    "unipc": Sampler(grids.log_snr_grid, dpm.unipc_calls, karras=True),
    "euler": Sampler(grids.edm_grid, functools.partial(one_step.ddim_calls, eta=0.0), karras=True),
    "euler-ancestral": Sampler(grids.edm_grid, functools.partial(one_step.ddim_calls, eta=1.0)),
    "heun": Sampler(grids.edm_grid, k_diffusion.heun_calls, karras=True),
    "lms": Sampler(grids.edm_grid, k_diffusion.lms_calls, karras=True),
    "pndm": Sampler(grids.strided, pndm.pndm_calls, predictions=("eps", "v"), minimum=4),
}


def plan(
    sampler: str,
    schedule: Schedule,
    *,
    steps: int,
    spacing: str = "leading",
    steps_offset: int = 1,
    prediction: str = "eps",
    eta: float = 0.0,
    karras: bool = False,
) -> Plan:
    """Lays out a sampling run on the host.

    Args:
        sampler: a name in `SAMPLERS`.
        schedule: the noise schedule the network was trained with.
        steps: steps asked for, 1 (pndm: 4) to the schedule's length. `Plan.calls` says how often
            the network runs: heun 2 steps - 1, pndm steps + 9, the others steps; and "official"
            spacing may lay more steps than asked for.
        spacing: "leading", "trailing", "linspace" or "official"; see `spacing`.
        steps_offset: added to the timesteps of "leading".
        prediction: what the network predicts, "eps", "x0" or "v".
        eta: noise of ddim, 0 (deterministic; diffusers' default) to 1 (the official AudioLDM 2's
            default).
        karras: whether the noise levels are spaced as in Karras et al. instead.

    Raises:
        ValueError: a name that does not exist, a number of steps that cannot be laid, an option
            that the sampler does not have, or a prediction that is undefined at some level.
    """
    chosen = tables.choose(SAMPLERS, sampler, what="The sampler")
    tables.choose(
        dict.fromkeys(chosen.predictions), prediction, what=f"The prediction for {sampler}"
    )
    for option, given, has in (("karras", karras, chosen.karras), ("eta", eta, chosen.eta)):
        if given and not has:
            able = [name for name, other in SAMPLERS.items() if getattr(other, option)]
            raise ValueError(f"{sampler} has no {option}; {', '.join(able)} have.")
    if not chosen.minimum <= steps <= schedule.train_steps:
        raise ValueError(
            f"{sampler} takes {chosen.minimum} to {schedule.train_steps} steps, but got {steps}."
        )
    grid = chosen.grid(
        schedule,
        steps=steps,
        spacing=spacing,
        steps_offset=steps_offset,
        **({"karras": karras} if chosen.karras else {}),
    )
    calls = chosen.calls(grid, prediction=prediction, **({"eta": eta} if chosen.eta else {}))
    return tabulate(calls, init_noise_sigma=grid.init_noise_sigma)
