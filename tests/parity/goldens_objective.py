"""Writes tests/golden/objective.npz: diffusers' noise, targets, Min-SNR losses and SD3 timesteps."""

import numpy as np
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_density_for_timestep_sampling, compute_snr

from tests import cases_objective as cases
from tests.cases_samplers import SCHEDULER_CONFIG
from tests.golden import save


def losses() -> dict[str, np.ndarray]:
    """Per-clip losses of eps and v as in train_text_to_image.py with --snr_gamma, and their parts."""
    scheduler = DDPMScheduler.from_config(
        {key: SCHEDULER_CONFIG[key] for key in ("beta_start", "beta_end", "beta_schedule")}
    )
    x0, eps, output = (torch.from_numpy(array) for array in cases.arrays().values())
    timesteps = torch.from_numpy(cases.TIMESTEPS)
    snr = compute_snr(scheduler, timesteps)
    capped = snr.clamp(max=cases.GAMMA)
    made = {
        "snr": snr,
        "noisy": scheduler.add_noise(x0, eps, timesteps),
        "v": scheduler.get_velocity(x0, eps, timesteps),
    }
    for name, target, weight in (("eps", eps, capped / snr), ("v", made["v"], capped / (snr + 1))):
        missed = torch.nn.functional.mse_loss(output, target, reduction="none").flatten(1).mean(1)
        made[f"loss_{name}"], made[f"min_snr_loss_{name}"] = missed, missed * weight
    return {name: value.numpy() for name, value in made.items()}


def counts() -> dict[str, np.ndarray]:
    """How many of diffusers' logit-normal draws fall in each of equal parts of (0, 1)."""
    made = {}
    for number, (mean, std) in enumerate(cases.LOGIT_NORMALS):
        torch.manual_seed(number)
        u = compute_density_for_timestep_sampling("logit_normal", cases.DRAWS, mean, std)
        made[f"counts_{number}"] = np.histogram(u.numpy(), cases.BINS, (0, 1))[0]
    return made


def write() -> None:
    save("objective", shapes={}, outputs=losses() | counts())
