"""Sampler cases, torch-free: runs to compare with diffusers' schedulers, and a network written for any array library."""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ldm_jax.diffusion import samplers, schedules
from ldm_jax.diffusion.sampling import Plan
from tests.golden import random_array

# scheduler/scheduler_config.json of cvssp/audioldm2.
SCHEDULER_CONFIG = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0015,
    "beta_end": 0.0195,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "rescale_betas_zero_snr": False,
    "thresholding": False,
    "trained_betas": None,
    "clip_sample_range": 1.0,
    "sample_max_value": 1.0,
    "dynamic_thresholding_ratio": 0.995,
}
# Our names -> the peer's.
PREDICTION_TYPES = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
BETA_SCHEDULES = {
    "scaled_linear": "scaled_linear",
    "linear": "linear",
    "cosine": "squaredcos_cap_v2",
}
SHAPE = (2, 3)
SPACINGS = ("leading", "trailing", "linspace")
# What the peer does not offer, and so is held by other tests.
WITHOUT_PEER = {("euler-ancestral", "x0")}


@dataclasses.dataclass(frozen=True)
class Case:
    """One sampling run."""

    sampler: str
    prediction: str = "eps"
    spacing: str = "leading"
    steps: int = 10
    karras: bool = False
    eta: float = 0.0
    beta_schedule: str = "scaled_linear"
    zero_snr: bool = False

    @property
    def name(self) -> str:
        parts = [self.sampler, self.prediction, self.spacing, str(self.steps)]
        parts += ["karras"] * self.karras + [f"eta{self.eta:g}"] * (self.eta > 0)
        parts += [self.beta_schedule] * (self.beta_schedule != "scaled_linear")
        return "-".join(parts + ["zero_snr"] * self.zero_snr)

    def plan(self) -> Plan:
        schedule = (
            schedules.schedule(self.beta_schedule, beta_start=0.0015, beta_end=0.0195)
            if (self.beta_schedule != "cosine")
            else schedules.cosine()
        )
        if self.zero_snr:
            schedule = schedules.rescale_zero_terminal_snr(schedule)
        return samplers.plan(
            self.sampler,
            schedule,
            steps=self.steps,
            spacing=self.spacing,
            prediction=self.prediction,
            eta=self.eta,
            karras=self.karras,
        )

    def config(self) -> dict[str, Any]:
        """What the peer's class is made from."""
        return SCHEDULER_CONFIG | {
            "prediction_type": PREDICTION_TYPES[self.prediction],
            "timestep_spacing": self.spacing,
            "use_karras_sigmas": self.karras,
            "beta_schedule": BETA_SCHEDULES[self.beta_schedule],
            "rescale_betas_zero_snr": self.zero_snr,
        }

    def noise(self) -> tuple[np.ndarray, np.ndarray]:
        """(initial noise, noise of every call), float64 but exact in float32."""
        shape = (self.plan().calls, *SHAPE)
        first, later = random_array("initial", SHAPE), random_array("later", shape)
        return first.astype(np.float32).astype(np.float64), later.astype(np.float32).astype(
            np.float64
        )


def family(sampler: str, steps: int) -> Iterator[Case]:
    """The sampler with every prediction, spacing and option it has."""
    chosen = samplers.SAMPLERS[sampler]
    options = itertools.product(
        chosen.predictions,
        SPACINGS,
        (False, True) if chosen.karras else (False,),
        (0.0, 1.0) if chosen.eta else (0.0,),
    )
    for prediction, spacing, karras, eta in options:
        if (sampler, prediction) not in WITHOUT_PEER:
            yield Case(sampler, prediction, spacing, max(steps, chosen.minimum), karras, eta)


STEPS = (1, 2, 3, 10, 25, 50, 200)


def all_cases() -> list[Case]:
    """Every sampler, prediction, spacing and option at every number of steps."""
    cases = (
        case for sampler in samplers.SAMPLERS for steps in STEPS for case in family(sampler, steps)
    )
    return list(dict.fromkeys(cases))


def other_schedules() -> list[Case]:
    """Other noise schedules, at few steps."""
    cases = []
    for sampler, beta_schedule in itertools.product(samplers.SAMPLERS, ("linear", "cosine")):
        cases += [Case(sampler, "v", "leading", 10, beta_schedule=beta_schedule)]
    for sampler in ("ddim", "dpmsolver++", "dpmsolver++-sde", "unipc", "euler", "euler-ancestral"):
        cases += [Case(sampler, "v", "trailing", 10, zero_snr=True)]
    return cases


def network(latents: Any, timestep: Any, *, prediction: str, tanh: Any) -> Any:
    """A nonlinear network of latents and a scalar Python or array timestep, for any array library.

    Its parts linear in the latents are those of a denoiser of unit-variance data, so that trajectories stay in scale.
    """
    u = timestep / 1000.0
    linear = {"eps": u * (2.0 - u), "x0": 1.0 - u, "v": 0.2 * (1.0 - u)}[prediction]
    return linear * latents + 0.3 * tanh(1.5 * latents + 2.0 * u - 0.7)


def gaussian_alpha_sigma(t: float) -> tuple[float, float]:
    return math.cos(math.pi / 2 * t), math.sin(math.pi / 2 * t)
