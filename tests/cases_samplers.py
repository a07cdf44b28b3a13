"""Sampler cases, torch-free: runs to compare with diffusers' schedulers, and their network."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ldm_jax.diffusion import samplers, sampling, schedules
from ldm_jax.diffusion.sampling import Plan
from tests.golden import random_array, relative_error

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
STEPS = (1, 2, 3, 10, 25, 50, 200)
MOST_CALLS = 400
# What the peers do not offer, and so is held by other tests.
WITHOUT_PEER = {("euler-ancestral", "x0")}
WITHOUT_ZERO_SNR = {"heun", "lms", "pndm"}


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
        """Ours."""
        ends = {"beta_start": 0.0015, "beta_end": 0.0195}
        schedule = schedules.schedule(
            self.beta_schedule, **({} if self.beta_schedule == "cosine" else ends)
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

    def noise(self, calls: int) -> tuple[np.ndarray, np.ndarray]:
        """(initial noise, noise of every call), float64 but exact in float32."""
        arrays = random_array("initial", SHAPE), random_array("later", (MOST_CALLS, *SHAPE))[:calls]
        return tuple(array.astype(np.float32).astype(np.float64) for array in arrays)


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
            steps = max(steps, chosen.minimum)
            yield Case(sampler, prediction, spacing, steps, karras, eta)


def sampler_cases(sampler: str, all_steps: Sequence[int] = STEPS) -> list[Case]:
    """Every prediction, spacing and option at every number of steps the sampler can take."""
    cases = (case for steps in all_steps for case in family(sampler, steps))
    return list(dict.fromkeys(cases))


def other_schedules(sampler: str) -> list[Case]:
    """Other noise schedules, at few steps."""
    cases = [Case(sampler, "v", beta_schedule=name) for name in ("linear", "cosine")]
    if sampler not in WITHOUT_ZERO_SNR:
        cases += [Case(sampler, "v", "trailing", zero_snr=True)]
    if sampler == "ddim":
        cases += [Case(sampler, "v", "trailing", eta=1.0, zero_snr=True)]
    return cases


def golden_cases(sampler: str) -> list[Case]:
    """Whole trajectories kept in tests/golden: all options at few steps, the defaults at many."""
    defaults = Case(sampler)
    many = [dataclasses.replace(defaults, steps=steps) for steps in (25, 50, 200)]
    return [*sampler_cases(sampler, (1, 2, 3, 10)), *many, *other_schedules(sampler)]


def network(latents: Any, timestep: Any, *, prediction: str, tanh: Any) -> Any:
    """A nonlinear network of latents and a scalar timestep, for any array library.

    What is linear in the latents is as a denoiser of unit-variance data would have it, so that
    trajectories stay in scale.
    """
    u = timestep / 1000.0
    linear = {"eps": u * (2.0 - u), "x0": 1.0 - u, "v": 0.2 * (1.0 - u)}[prediction]
    return linear * latents + 0.3 * tanh(1.5 * latents + 2.0 * u - 0.7)


@functools.partial(jax.jit, static_argnames="prediction")
def _advance(plan: Plan, carry: Any, noise: Any, *, prediction: str) -> Any:
    def denoiser(latents: Any, timestep: Any, extra: None) -> Any:
        return network(latents, timestep, prediction=prediction, tanh=jnp.tanh)

    return sampling.sample_segment(denoiser, plan, carry, call_noise=noise)


def trajectory(case: Case, *, dtype: type) -> dict[str, np.ndarray]:
    """Ours: timesteps, what the network is given at each call, and the latents at the end."""
    plan = case.plan()
    initial, later = (array.astype(dtype) for array in case.noise(plan.calls))
    carry, inputs = sampling.init(plan, jnp.asarray(initial)), []
    for call in range(plan.calls):
        inputs.append(np.asarray(sampling.latents_of(carry)))
        noise = later[call : call + 1] if plan.stochastic else None
        segment = plan.segment(call, call + 1)
        carry = _advance(segment, carry, noise, prediction=case.prediction)
    latents = np.asarray(sampling.latents_of(carry))
    assert latents.dtype == dtype
    return {"timesteps": plan.timesteps, "inputs": np.stack(inputs), "latents": latents}


def disagreement(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> float:
    """Largest relative error of any call's network input, of the latents and of the timesteps."""
    if len(ours["inputs"]) != len(theirs["inputs"]):
        return math.inf
    # A constant is added because a run may end at timestep 0.
    errors = [relative_error(ours["timesteps"] + 1, theirs["timesteps"] + 1)]
    errors += [relative_error(ours["latents"], theirs["latents"])]
    errors += map(relative_error, ours["inputs"], theirs["inputs"])
    return max(errors)
