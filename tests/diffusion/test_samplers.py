"""Laying out samplers: diffusers' trajectories from golden files, published facts, and errors."""

import jax
import numpy as np
import pytest

from ldm_jax.diffusion import samplers, schedules
from ldm_jax.diffusion.samplers import k_diffusion
from tests import golden
from tests.cases_samplers import disagreement, golden_cases, trajectory

SCHEDULE = schedules.scaled_linear()
DTYPES = {np.float32: golden.FLOAT32_BOUND, np.float64: golden.FLOAT64_BOUND}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
def test_diffusers_trajectories(sampler, dtype):
    shapes, outputs = golden.load(f"samplers_{sampler}")
    cases = {case.name: case for case in golden_cases(sampler)}
    assert list(shapes) == list(cases)
    errors, start = [], 0
    with jax.enable_x64(dtype is np.float64):
        for (name, (calls, *_)), latents in zip(shapes.items(), outputs["latents"], strict=True):
            part = slice(start, start + calls)
            theirs = {key: outputs[key][part] for key in ("timesteps", "inputs")}
            ours = trajectory(cases[name], dtype=dtype)
            errors.append((disagreement(ours, theirs | {"latents": latents}), name))
            start += calls
    error, name = max(errors)
    assert start == len(outputs["inputs"])
    assert error < DTYPES[dtype], name


@pytest.mark.parametrize("spacing", ["leading", "official"])
def test_ddim_of_audioldm2(spacing):
    """200 steps, eta 1: timesteps 996, 991 .. 1 and the published code's sigmas."""
    plan = samplers.plan("ddim", SCHEDULE, steps=200, spacing=spacing, eta=1.0)
    np.testing.assert_array_equal(plan.timesteps, np.arange(996, 0, -5))
    np.testing.assert_allclose(plan.transition[-1, 0, 2], 0.02743, atol=5e-6)
    np.testing.assert_allclose(plan.transition[0, 0, 2], 0.30515, atol=5e-6)
    assert plan.init_noise_sigma == 1


def test_official_ddim_is_diffusers_ddim_when_steps_divide():
    plans = [
        samplers.plan("ddim", SCHEDULE, steps=200, spacing=spacing)
        for spacing in ("leading", "official")
    ]
    np.testing.assert_array_equal(plans[0].transition, plans[1].transition)
    assert not plans[0].stochastic


@pytest.mark.parametrize(
    ("sampler", "spacing", "calls"),
    [
        ("ddim", "leading", 30),
        ("ddim", "official", 31),
        ("heun", "leading", 59),
        ("pndm", "leading", 39),
        ("unipc", "official", 31),
    ],
)
def test_calls(sampler, spacing, calls):
    plan = samplers.plan(sampler, SCHEDULE, steps=30, spacing=spacing)
    assert plan.calls == len(plan.timesteps) == len(plan.transition) == calls


def test_linear_multistep_is_adams_bashforth_on_equal_steps():
    """The textbook's fourth order coefficients."""
    ours = [k_diffusion.lagrange_integral([0.0, -1.0, -2.0, -3.0], j, 0.0, 1.0) for j in range(4)]
    np.testing.assert_allclose(np.array(ours) * 24, [55, -59, 37, -9], rtol=1e-13)


@pytest.mark.parametrize("spacing", ["trailing", "linspace"])
@pytest.mark.parametrize("sampler", ["euler", "heun", "lms", "euler-ancestral"])
def test_initial_scale(sampler, spacing):
    """These begin with noise of the first level's own sigma; with "leading" spacing, of scale 1."""
    plan = samplers.plan(sampler, SCHEDULE, steps=10, spacing=spacing)
    np.testing.assert_allclose(plan.init_noise_sigma, SCHEDULE.sigma[999], rtol=1e-14)
    assert samplers.plan(sampler, SCHEDULE, steps=10).init_noise_sigma == 1


def test_zero_terminal_snr_needs_another_prediction_than_eps():
    rescaled = schedules.rescale_zero_terminal_snr(SCHEDULE)
    with pytest.raises(ValueError, match=r"At timestep 999 .* predict v"):
        samplers.plan("ddim", rescaled, steps=10, spacing="trailing", prediction="eps")
    plan = samplers.plan("ddim", rescaled, steps=10, spacing="trailing", prediction="v")
    # At pure noise the prediction v = -x0 is all there is, and half of eps is in the latents.
    there = rescaled.alpha[899], rescaled.sigma[899]
    np.testing.assert_allclose(plan.transition[0, 0], [there[1], -there[0]], rtol=1e-14)
    assert np.isfinite(samplers.plan("ddim", rescaled, steps=10).transition).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "dpm"}, "The sampler must be one of ddim, .*, pndm, but got 'dpm'."),
        ({"prediction": "noise"}, "prediction for ddim must be one of eps, x0, v, but got 'noise'"),
        ({"sampler": "pndm", "prediction": "x0"}, "prediction for pndm must be one of eps, v, but"),
        ({"spacing": "even"}, "spacing must be one of leading, trailing, linspace, official, but"),
        ({"steps": 0}, "ddim takes 1 to 1000 steps, but got 0."),
        ({"steps": 1001}, "ddim takes 1 to 1000 steps, but got 1001."),
        ({"sampler": "pndm", "steps": 3}, "pndm takes 4 to 1000 steps, but got 3."),
        ({"eta": 1.5}, "eta must lie in 0 to 1, but got 1.5."),
        ({"sampler": "heun", "eta": 1.0}, "heun has no eta; ddim have."),
        ({"karras": True}, "ddim has no karras; dpmsolver.., .* have."),
        ({"steps": 1000}, "visits timesteps 1 to 1000, but the schedule has 0 to 999"),
        ({"sampler": "unipc", "steps": 1000}, "allows at most 999 steps, but got 1000."),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        samplers.plan(**{"sampler": "ddim", "schedule": SCHEDULE, "steps": 10} | options)


@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
def test_every_number_of_steps(sampler):
    """Coefficients are finite and timesteps inside the schedule, from the fewest steps to 998."""
    for steps in (samplers.SAMPLERS[sampler].minimum, 61, 998):
        for spacing in ("leading", "trailing", "linspace"):
            plan = samplers.plan(sampler, SCHEDULE, steps=steps, spacing=spacing)
            assert np.isfinite(plan.transition).all()
            assert plan.timesteps.min() >= 0
            assert plan.timesteps.max() <= 999
            if sampler not in ("heun", "pndm"):
                assert plan.calls == steps
                assert (np.diff(plan.timesteps) < 0).all()
