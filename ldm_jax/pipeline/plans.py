"""What is asked for, a preset and a checkpoint's scheduler config to a sampler's plan."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ldm_jax.config import Generation, Preset
from ldm_jax.diffusion import samplers, schedules
from ldm_jax.diffusion.distilled import Distilled
from ldm_jax.diffusion.samplers.students import (
    consistency_plan,
    few_step_indices,
    progressive_plan,
)
from ldm_jax.diffusion.sampling import Plan
from ldm_jax.students import SAMPLERS, STOCHASTIC

SCHEDULES = {"scaled_linear": "scaled_linear", "linear": "linear", "squaredcos_cap_v2": "cosine"}
PREDICTIONS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
# Options of diffusers' schedulers that no AudioLDM 2 checkpoint sets; anything but these values would be ignored.
ONLY = {
    "trained_betas": None,
    "clip_sample": False,
    "thresholding": False,
    "set_alpha_to_one": False,
}


def noise_schedule(scheduler: Mapping[str, Any]) -> schedules.Schedule:
    """The noise levels that a scheduler config describes.

    Raises:
        ValueError: a schedule or an option that is not supported.
    """
    for option, value in ONLY.items():
        if scheduler.get(option, value) != value:
            raise ValueError(
                f"the scheduler config has {option} = {scheduler[option]}; supported is {value}"
            )
    name = scheduler.get("beta_schedule", "linear")
    if name not in SCHEDULES:
        raise ValueError(f"unknown beta_schedule {name!r}; known are {', '.join(SCHEDULES)}")
    options: dict[str, Any] = {"train_steps": scheduler.get("num_train_timesteps", 1000)}
    if name != "squaredcos_cap_v2":
        options |= {key: scheduler[key] for key in ("beta_start", "beta_end") if key in scheduler}
    schedule = schedules.schedule(SCHEDULES[name], **options)
    if scheduler.get("rescale_betas_zero_snr"):
        return schedules.rescale_zero_terminal_snr(schedule)
    return schedule


def make_plan(
    asked: Generation,
    preset: Preset,
    scheduler: Mapping[str, Any],
    distilled: Distilled | None = None,
) -> Plan:
    """The plan of a generation.

    Args:
        asked: from `students.settings`.
        preset: for what is not asked for.
        scheduler: config of the checkpoint's scheduler.
        distilled: how the checkpoint has to be sampled; None where it is not distilled.

    Raises:
        ValueError: an unknown sampler or spacing, a number of steps that it cannot lay, an option it does not have, or
            a student whose levels are not those of its schedule.
    """
    schedule, prediction = noise_schedule(scheduler), _prediction(scheduler)
    if distilled is not None and distilled.method in SAMPLERS:
        lay = {"progressive": _progressive, "consistency": _consistency}[distilled.method]
        return lay(asked, schedule, prediction, distilled)
    ddim = asked.sampler == "ddim"
    spacing = asked.spacing or (preset.spacing if ddim else None)
    eta = asked.eta if asked.eta is not None else (preset.eta if ddim else 0.0)
    return samplers.plan(
        asked.sampler,
        schedule,
        steps=asked.steps,
        spacing=spacing or scheduler.get("timestep_spacing", "leading"),
        steps_offset=scheduler.get("steps_offset", 0),
        prediction=prediction,
        eta=eta,
        karras=asked.karras,
    )


def _prediction(scheduler: Mapping[str, Any]) -> str:
    prediction = scheduler.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise ValueError(
            f"unknown prediction_type {prediction!r}; known are {', '.join(PREDICTIONS)}"
        )
    return PREDICTIONS[prediction]


def _progressive(
    asked: Generation, schedule: schedules.Schedule, prediction: str, distilled: Distilled
) -> Plan:
    plan = progressive_plan(
        schedule,
        steps=asked.steps,
        prediction=prediction,
        pure_noise=distilled.pure_noise,
        stochastic=asked.sampler == STOCHASTIC,
    )
    visited = plan.timesteps[:: asked.steps // distilled.steps]
    if not np.allclose(visited, distilled.timesteps, rtol=0, atol=1e-3):
        raise ValueError(
            f"this checkpoint was distilled at timesteps {distilled.timesteps[0]:g} to {distilled.timesteps[-1]:g}, "
            f"but by its scheduler config {distilled.steps} steps lie at {visited[0]:g} to {visited[-1]:g}"
        )
    return plan


def _consistency(
    asked: Generation, schedule: schedules.Schedule, prediction: str, distilled: Distilled
) -> Plan:
    chosen = few_step_indices(len(distilled.timesteps), asked.steps)
    timesteps, edm_sigmas = (
        np.array(table[::-1], np.float64) for table in (distilled.timesteps, distilled.edm_sigmas)
    )
    return consistency_plan(
        schedule,
        timesteps=timesteps[chosen],
        prediction=prediction,
        edm_sigmas=edm_sigmas[chosen] if len(edm_sigmas) else None,
    )
