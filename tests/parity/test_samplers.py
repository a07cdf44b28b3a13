"""Every sampler against diffusers' own class, over whole trajectories."""

import diffusers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

from ldm_jax.diffusion import guidance, samplers, schedules
from tests.cases_samplers import (
    BETA_SCHEDULES,
    Case,
    disagreement,
    other_schedules,
    sampler_cases,
    trajectory,
)
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, random_array, relative_error
from tests.parity import oracle_samplers

DTYPES = {np.float32: FLOAT32_BOUND, np.float64: FLOAT64_BOUND}


def worst(cases: list[Case], dtype: type) -> tuple[float, str]:
    errors = []
    with jax.enable_x64(dtype is np.float64):
        for case in cases:
            theirs = oracle_samplers.run(case, dtype=dtype)
            errors.append((disagreement(trajectory(case, dtype=dtype), theirs), case.name))
    return max(errors)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
def test_trajectories(sampler, dtype):
    cases = [*sampler_cases(sampler, (1, 2, 3, 10, 25)), *other_schedules(sampler)]
    error, name = worst(cases, dtype)
    assert error < DTYPES[dtype], name


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
def test_long_trajectories(sampler, dtype):
    error, name = worst(sampler_cases(sampler, (50, 200)), dtype)
    assert error < DTYPES[dtype], name


@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
def test_the_default_in_200_steps(sampler):
    error, _ = worst([Case(sampler, steps=200)], np.float32)
    assert error < FLOAT32_BOUND


@pytest.mark.parametrize("zero_snr", [False, True])
@pytest.mark.parametrize("name", BETA_SCHEDULES)
def test_schedules(name, zero_snr):
    case = Case("ddim", beta_schedule=name, zero_snr=zero_snr)
    ours = (
        schedules.schedule(name)
        if name != "linear"
        else schedules.linear(beta_start=0.0015, beta_end=0.0195)
    )
    ours = schedules.rescale_zero_terminal_snr(ours) if zero_snr else ours
    with oracle_samplers.precision(diffusers.DDIMScheduler, np.float64):
        theirs = diffusers.DDIMScheduler.from_config(case.config()).alphas_cumprod.numpy()
    assert theirs.dtype == np.float64
    np.testing.assert_allclose(ours.alphas_cumprod, theirs, rtol=1e-9, atol=1e-20)


def test_tables_in_float32():
    """What docs and comments say of diffusers' float32 products."""
    theirs = diffusers.DDIMScheduler.from_config(Case("ddim").config()).alphas_cumprod.numpy()
    ours = schedules.scaled_linear()
    error = np.max(np.abs(theirs.astype(np.float64) / ours.alphas_cumprod - 1))
    assert 0.9e-6 < error < 1.1e-6


def test_guidance_rescale():
    guided, conditional = random_array("guided", (3, 4, 5)), random_array("conditional", (3, 4, 5))
    theirs = rescale_noise_cfg(
        torch.from_numpy(guided), torch.from_numpy(2 * conditional), guidance_rescale=0.7
    )
    with jax.enable_x64(True):
        ours = guidance.rescale(jnp.asarray(guided), jnp.asarray(2 * conditional), 0.7)
    assert relative_error(ours, theirs.numpy()) < FLOAT64_BOUND
