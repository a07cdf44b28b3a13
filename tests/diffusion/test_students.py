"""Students' samplers on data whose perfect denoiser and consistency function are known: affine runs in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.diffusion import parameterization, samplers, sampling, schedules, student_grid
from ldm_jax.diffusion.samplers import grids, students
from tests.diffusion import gaussian
from tests.diffusion.gaussian import MEAN, STD

SCHEDULE = schedules.scaled_linear()
ZERO_TERMINAL = schedules.rescale_zero_terminal_snr(SCHEDULE)
# Continuous in effect: 8000 timesteps.
COSINE = schedules.Schedule(np.cos(np.pi / 2 * np.linspace(0.003, 1, 8000)) ** 2)
PREDICTIONS = ["x0", "v", "eps"]


def affine(plan, levels, prediction, denoiser=gaussian.denoiser):
    """(mean, response to the initial and to each call's noise) of a run that is affine in all of them."""
    impulses = np.eye(plan.calls + 2)[1:].reshape(plan.calls + 1, plan.calls + 2, 1)
    extras, noise = tuple(np.array(levels).T), impulses[1:] if plan.stochastic else None
    with jax.enable_x64(True):

        @jax.jit
        def compiled(plan, initial, noise, extras):
            return sampling.sample(
                denoiser(prediction), plan, initial, call_noise=noise, extras=extras
            )

        arrays = jax.tree.map(jnp.asarray, (impulses[0], noise, extras))
        sample = np.asarray(compiled(plan, *arrays))[:, 0]
    return sample[0], sample[1:] - sample[0]


def ddim(here, there):
    """(gain, shift) of the perfect denoiser's DDIM step on z, written out."""
    pull = here.alpha * STD**2 / (here.alpha**2 * STD**2 + here.sigma**2)
    x0 = pull, (1 - pull * here.alpha) * MEAN  # as gain, shift
    eps = (1 - here.alpha * x0[0]) / here.sigma, -here.alpha * x0[1] / here.sigma
    return tuple(there.alpha * a + there.sigma * b for a, b in zip(x0, eps, strict=True))


def levels_of(schedule, steps, pure_noise=False):
    """Cleanest first."""
    _, *scales = student_grid.progressive(schedule, steps, pure_noise=pure_noise)
    return [grids.Level(*pair) for pair in zip(*scales, strict=True)]


def consistency(prediction):
    """Where the probability flow ends from (alpha, sigma): the exact consistency function."""

    def predict(z, timestep, level):
        alpha, sigma = level
        x0 = MEAN + STD / jnp.hypot(alpha * STD, sigma) * (z - alpha * MEAN)
        return parameterization.convert(
            x0, z, source="x0", target=prediction, alpha=alpha, sigma=sigma
        )

    return predict


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(
    ("schedule", "pure_noise"), [(SCHEDULE, False), (SCHEDULE, True), (ZERO_TERMINAL, False)]
)
@pytest.mark.parametrize("steps", [1, 25])
def test_progressive_is_ddim_to_the_clean_end(schedule, pure_noise, steps, prediction):
    """Gains and shifts of all steps multiplied out; exactly x0 at the end."""
    levels = levels_of(schedule, steps, pure_noise)
    if prediction == "eps" and not levels[-1].alpha:
        with pytest.raises(ValueError, match="At timestep 999 this prediction does not determine"):
            students.progressive_plan(
                schedule, steps=steps, prediction=prediction, pure_noise=pure_noise
            )
        return
    plan = students.progressive_plan(
        schedule, steps=steps, prediction=prediction, pure_noise=pure_noise
    )
    assert (plan.calls, plan.stochastic, plan.init_noise_sigma) == (steps, False, 1)
    np.testing.assert_array_equal(plan.timesteps, 1000 * np.arange(steps, 0, -1) / steps - 1)
    mean, gain = 0.0, 1.0
    for i in range(steps, 0, -1):
        a, b = ddim(levels[i], levels[i - 1])
        mean, gain = a * mean + b, a * gain
    ours, response = affine(plan, levels[:0:-1], prediction)
    np.testing.assert_allclose((ours, response[0]), (mean, gain), rtol=1e-10)
    # The last call's own x0 is the sample.
    pull = parameterization.TO_X0[prediction](
        np.array([0.0, 1.0]), np.array([1.0, 0.0]), *levels[1]
    )
    np.testing.assert_allclose(plan.transition[-1, 0], pull, rtol=1e-12)


def test_progressive_is_the_teachers_ddim():
    """Where the steps divide the schedule: trailing DDIM, but for its end, which leaves a trace of noise."""
    ours = students.progressive_plan(SCHEDULE, steps=50, prediction="v")
    theirs = samplers.plan("ddim", SCHEDULE, steps=50, spacing="trailing", prediction="v")
    np.testing.assert_array_equal(ours.timesteps, theirs.timesteps)
    np.testing.assert_allclose(ours.transition[:-1], theirs.transition[:-1], rtol=1e-10, atol=1e-12)
    assert np.abs(ours.transition[-1] - theirs.transition[-1]).max() > 0.01


@pytest.mark.parametrize("prediction", ["x0", "v"])
@pytest.mark.parametrize("steps", [1, 2, 3, 16])
def test_stochastic_in_closed_form(steps, prediction):
    """Two levels on by DDIM, one back by noise: the mean and the part of every call's noise."""
    plan = students.progressive_plan(
        ZERO_TERMINAL, steps=steps, prediction=prediction, stochastic=True
    )
    levels = levels_of(ZERO_TERMINAL, steps)
    assert plan.stochastic == (steps > 1)
    mean, parts = 0.0, [1.0]
    for i in range(steps, 0, -1):
        there, back = levels[max(i - 2, 0)], levels[i - 1]
        gain, shift = (x * back.alpha / there.alpha for x in ddim(levels[i], there))
        # sigma_{s|k}^2 = (1 - exp(lambda_s - lambda_k)) sigma_s^2, with s the level back and k the one there.
        ratio = (back.alpha * there.sigma) / (there.alpha * back.sigma) if i > 1 else 1.0
        mean, parts = gain * mean + shift, [gain * part for part in parts]
        parts.append(np.sqrt(1 - ratio**2) * back.sigma)
    ours, response = affine(plan, levels[:0:-1], prediction)
    np.testing.assert_allclose(ours, mean, rtol=1e-9)
    np.testing.assert_allclose(
        response[: len(parts)], parts if steps > 1 else [parts[0], 0], atol=1e-9
    )
    assert parts[-1] == 0


def marginals(schedule, steps):
    """Relative error of the run's variance at each level, by the plan's own matrices."""
    plan = students.progressive_plan(schedule, steps=steps, prediction="v", stochastic=True)
    levels, variance, errors = levels_of(schedule, steps), 1.0, []
    for i, row in zip(range(steps, 0, -1), plan.transition[:, 0], strict=True):
        here, there = levels[i], levels[i - 1]
        # v of the perfect denoiser is this much of z.
        pull = here.alpha * here.sigma * (1 - STD**2) / (here.alpha**2 * STD**2 + here.sigma**2)
        variance = (row[0] + row[1] * pull) ** 2 * variance + row[2] ** 2
        errors.append(variance / (there.alpha**2 * STD**2 + there.sigma**2) - 1)
    return np.abs(errors)


@pytest.mark.parametrize(
    ("schedule", "summary", "last"), [(COSINE, np.max, 0.021), (ZERO_TERMINAL, np.median, 4e-4)]
)
def test_stochastic_keeps_the_marginals(schedule, summary, last):
    """Of a perfect denoiser; the error is of first order in the step, at the worst level of a smooth schedule."""
    errors = {steps: summary(marginals(schedule, steps)) for steps in (100, 200, 400)}
    for steps in (100, 200):
        assert 1.9 < errors[steps] / errors[2 * steps] < 2.1
    assert errors[400] < last


def test_few_steps_on_the_training_grid():
    """ConsistencyTTA's 18 points: evenly from the noisiest on, never timestep 0."""
    times = student_grid.uniform(SCHEDULE).timesteps
    unit = 999 / 17
    for steps, points in {1: [17], 2: [17, 9], 4: [17, 13, 9, 5], 17: range(17, 0, -1)}.items():
        ours = students.few_step_times(times, steps)
        np.testing.assert_allclose(ours, np.array(points) * unit, rtol=1e-12)
        np.testing.assert_array_equal(ours, times[students.few_step_indices(18, steps)])
    for points in range(2, 60):
        for steps in range(1, points):
            indices = students.few_step_indices(points, steps)
            assert (len(indices), indices[0]) == (steps, points - 1)
            gaps = -np.diff([*indices, 0])
            assert gaps.min() >= 1
            assert np.abs(gaps - (points - 1) / steps).max() < 1


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_consistency_gives_the_data(steps, prediction):
    """From latents of the first level, the exact consistency function's samples have the data's moments exactly.

    From noise alone, the first level's missing signal is missed by what is in closed form, and what a later
    level's noise does not hide of it stays.
    """
    times = students.few_step_times(student_grid.uniform(SCHEDULE).timesteps, steps)
    plan = students.consistency_plan(SCHEDULE, timesteps=times, prediction=prediction)
    levels = np.array(gaussian.levels(SCHEDULE, plan)).T
    assert (plan.calls, plan.stochastic) == (steps, steps > 1)
    assert plan.init_noise_sigma == levels[0][1]
    edm_sigma = levels[0][1] / levels[0][0]
    assert plan.init_noise_sigma == pytest.approx(edm_sigma / np.sqrt(edm_sigma**2 + 1), rel=1e-12)
    mean, response = affine(plan, levels, prediction, consistency)
    deviations = [np.hypot(alpha * STD, sigma) for alpha, sigma in levels]
    kept = np.prod(
        [
            STD / deviation * (alpha if number else 1)
            for number, ((alpha, _), deviation) in enumerate(zip(levels, deviations, strict=True))
        ]
    )
    # What is missing at first: the mean alpha MEAN, and of the variance (alpha STD)^2.
    alpha, sigma = levels[0]
    assert mean == pytest.approx(MEAN - kept * alpha * MEAN, rel=1e-9)
    assert response[0] == pytest.approx(kept * sigma, rel=1e-9)
    # Latents of the first level are alpha MEAN + its deviation times noise.
    whole = mean + response[0] / sigma * alpha * MEAN
    variance = (response[0] / sigma * deviations[0]) ** 2 + np.sum(response[1:] ** 2)
    np.testing.assert_allclose((whole, variance), (MEAN, STD**2), rtol=1e-9)
    # The last call adds nothing, and every other one does.
    assert (np.abs(response[1:-1]) > 1e-3).all() == (steps > 1 or len(response) == 2)
    assert response[-1] == 0


def test_consistency_of_a_karras_grid():
    """Levels are the grid's own, which linear interpolation of its timesteps misses."""
    grid = student_grid.karras(SCHEDULE)
    indices = students.few_step_indices(18, 17)
    edm_sigmas = (grid.sigma / grid.alpha)[indices]
    own = students.consistency_plan(
        SCHEDULE, timesteps=grid.timesteps[indices], prediction="v", edm_sigmas=edm_sigmas
    )
    interpolated = students.consistency_plan(
        SCHEDULE, timesteps=grid.timesteps[indices], prediction="v"
    )
    for number, at in enumerate(indices[1:]):
        # Coefficients of latents, output and noise: of x0 = alpha z - sigma v, noised to the next level.
        before = indices[number]
        expected = [
            grid.alpha[at] * grid.alpha[before],
            -grid.alpha[at] * grid.sigma[before],
            grid.sigma[at],
        ]
        np.testing.assert_allclose(own.transition[number, 0], expected, rtol=1e-12)
    assert 1e-4 < np.abs(own.transition - interpolated.transition).max() < 1e-2


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (lambda: students.few_step_indices(18, 18), "on 18 points samples in 1 to 17 steps, but got 18"),
        (lambda: students.few_step_indices(18, 0), "in 1 to 17 steps, but got 0"),
        (lambda: students.few_step_times(np.array([999.0, 0.0]), 1), "rise .* but got 999 to 0"),
        (lambda: consistency_at([]), r"falling timesteps in 0 to 999, but got \[\]"),
        (lambda: consistency_at([999.0, 1000.0]), "falling timesteps in 0 to 999"),
        (lambda: consistency_at([500.0, 500.0]), r"but got \[500.0, 500.0\]"),
        (lambda: consistency_at([999.0, -1.0]), "falling timesteps in 0 to 999"),
        (lambda: consistency_at([999.0], "score"), "must be one of eps, x0, v, but got 'score'"),
        (lambda: students.progressive_plan(SCHEDULE, steps=0, prediction="v"), "1 to 1000 steps, but got 0"),
        (lambda: students.progressive_plan(SCHEDULE, steps=9, prediction="u"), "of eps, x0, v, but got 'u'"),
    ],
)  # fmt: skip
def test_what_is_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        asked()


def consistency_at(timesteps, prediction="x0"):
    return students.consistency_plan(SCHEDULE, timesteps=timesteps, prediction=prediction)
