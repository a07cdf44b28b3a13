"""Samplers on data whose flow is known exactly: their order, and the moments they end with."""

import numpy as np
import pytest

from ldm_jax.diffusion import samplers, schedules
from ldm_jax.diffusion.samplers import dpm, grids, k_diffusion, one_step, symbolic
from tests.diffusion import gaussian

Z = np.array([[-1.3], [0.2], [1.9]])
SCHEDULE = schedules.scaled_linear()
CALLS = {
    "euler": (one_step.ddim_calls, 0.97, 1.03),
    "heun": (k_diffusion.heun_calls, 1.97, 2.1),
    # Its first steps are of lower order, so the fourth is not quite reached.
    "lms": (k_diffusion.lms_calls, 3.3, 4.0),
    "dpmsolver++": (lambda g, **o: dpm.dpm_calls(g, stochastic=False, **o), 1.95, 2.05),
    # Of order 2 + 1: the corrector adds one.
    "unipc": (dpm.unipc_calls, 2.95, 3.05),
}


def error_between_fixed_levels(calls, steps: int) -> float:
    """From sigma / alpha = 20 to 0.05 in `steps` equal steps of log-SNR, against the exact flow."""
    sigmas = np.exp(np.linspace(np.log(20), np.log(0.05), steps + 1))
    grid = grids.chained(SCHEDULE, np.arange(steps + 1.0)[::-1], sigmas, init_noise_sigma=1.0)
    plan = symbolic.tabulate(calls(grid, prediction="eps"), init_noise_sigma=1.0)
    plan = plan.segment(0, plan.calls - 1)  # without the step to clean data
    here = np.array([grid.steps[steps - int(t)].here for t in plan.timesteps])
    ours = gaussian.run(plan, tuple(here.T), Z)
    return np.linalg.norm(ours - gaussian.flow(Z, grid.steps[0].here, grid.steps[-1].here))


@pytest.mark.parametrize("sampler", CALLS)
def test_order(sampler):
    calls, lowest, highest = CALLS[sampler]
    order = np.log2(error_between_fixed_levels(calls, 64) / error_between_fixed_levels(calls, 128))
    assert lowest < order < highest


@pytest.mark.parametrize(("sampler", "expected"), [("ddim", 1), ("pndm", 2)])
def test_order_on_a_dense_schedule(sampler, expected):
    """Samplers that step over integer timesteps, on a schedule with 8192 of them."""
    half_log_snr = np.linspace(np.log(20), -np.log(20), 8192)
    dense = schedules.Schedule(1 / (1 + np.exp(-2 * half_log_snr)))
    errors = []
    for steps in (64, 128):
        plan = samplers.plan(sampler, dense, steps=steps, spacing="trailing")
        ours = gaussian.run(plan, gaussian.levels(dense, plan), Z)
        ends = grids.level_at(dense, int(plan.timesteps[0])), grids.level_at(dense, 0)
        errors.append(np.linalg.norm(ours - gaussian.flow(Z, *ends)))
    assert abs(np.log2(errors[0] / errors[1]) - expected) < 0.05


@pytest.mark.parametrize(
    ("sampler", "eta"), [("ddim", 1.0), *((sampler, 0.0) for sampler in samplers.SAMPLERS)]
)
def test_moments(sampler, eta):
    """Standard normal noise becomes N(MEAN, STD^2).

    With this denoiser the whole run is affine in the initial noise and in every call's noise, so
    its mean and variance follow exactly from its response to zero and to each unit of noise.
    """
    plan = samplers.plan(sampler, SCHEDULE, steps=500, spacing="trailing", eta=eta)
    impulses = np.eye(plan.calls + 2)[1:].reshape(plan.calls + 1, plan.calls + 2, 1)
    noise = impulses[1:] if plan.stochastic else None
    z = impulses[0] * plan.init_noise_sigma
    sample = gaussian.run(plan, gaussian.levels(SCHEDULE, plan), z, noise=noise)[:, 0]
    mean, response = sample[0], sample[1:] - sample[0]
    assert plan.stochastic == bool(eta or sampler in ("euler-ancestral", "dpmsolver++-sde"))
    assert (np.abs(response[1:]) > 0).any() == plan.stochastic
    # The schedule ends short of pure noise, and a deterministic sampler remembers what is missing.
    first = grids.level_at(SCHEDULE, int(plan.timesteps[0]))
    expected = gaussian.MEAN if plan.stochastic else gaussian.flow(np.zeros(()), first, grids.CLEAN)
    assert abs(mean - expected) < 1e-3
    first_order = sampler in ("ddim", "euler", "euler-ancestral")
    assert abs(np.linalg.norm(response) / gaussian.STD - 1) < (0.03 if first_order else 0.01)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace", "official"])
@pytest.mark.parametrize("sampler", [name for name in samplers.SAMPLERS if name != "pndm"])
def test_predictions_are_equivalent(sampler, spacing):
    """A network that predicts x0 or v samples the same as the one it was converted from.

    Not with pndm, which combines raw outputs of several levels.
    """
    ours = {}
    for prediction in ("eps", "x0", "v"):
        plan = samplers.plan(sampler, SCHEDULE, steps=10, spacing=spacing, prediction=prediction)
        noise = np.linspace(-1, 1, plan.calls * 3).reshape(plan.calls, 3, 1)
        ours[prediction] = gaussian.run(
            plan,
            gaussian.levels(SCHEDULE, plan),
            Z,
            prediction,
            noise if plan.stochastic else None,
        )
    np.testing.assert_allclose(ours["x0"], ours["eps"], rtol=1e-10)
    np.testing.assert_allclose(ours["v"], ours["eps"], rtol=1e-10)
