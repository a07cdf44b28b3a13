"""What is asked for, a preset and a checkpoint's scheduler config to a sampler's plan."""

from collections.abc import Mapping
from typing import Any

from ldm_jax.config import Generation, Preset
from ldm_jax.diffusion import samplers, schedules
from ldm_jax.diffusion.sampling import Plan

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


def make_plan(asked: Generation, preset: Preset, scheduler: Mapping[str, Any]) -> Plan:
    """The plan of a generation.

    Raises:
        ValueError: an unknown sampler or spacing, a number of steps that it cannot lay, an option it does not have.
    """
    prediction = scheduler.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise ValueError(
            f"unknown prediction_type {prediction!r}; known are {', '.join(PREDICTIONS)}"
        )
    ddim = asked.sampler == "ddim"
    spacing = asked.spacing or (preset.spacing if ddim else None)
    eta = asked.eta if asked.eta is not None else (preset.eta if ddim else 0.0)
    return samplers.plan(
        asked.sampler,
        noise_schedule(scheduler),
        steps=asked.steps,
        spacing=spacing or scheduler.get("timestep_spacing", "leading"),
        steps_offset=scheduler.get("steps_offset", 0),
        prediction=PREDICTIONS[prediction],
        eta=eta,
        karras=asked.karras,
    )
