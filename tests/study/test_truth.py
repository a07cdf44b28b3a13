"""Distances against closed forms, and students that are perfect at the floor."""

import jax
import jax.numpy as jnp
import numpy as np

from ldm_jax.diffusion import sampling, schedules
from ldm_jax.diffusion.samplers import students
from ldm_jax.distill.grid import progressive_grid, uniform_grid
from ldm_jax.distill.progressive import ddim_step
from ldm_jax.study.mixture import Mixture, flow, nested, network
from ldm_jax.study.truth import (
    Questions,
    Truth,
    answers,
    error_by_level,
    map_error,
    sliced_distance,
    sliced_quantiles,
)

SCHEDULE = schedules.scaled_linear()
FROM = float(SCHEDULE.edm_sigma[-1])
ONE = Mixture(np.ones(1), np.array([[0.5, -1.0]]), 0.3)
MIXTURE = nested()
TRUTH = Truth(mixture=MIXTURE, edm_sigma=FROM, count=256, exact=2**15, per_level=16)


def drawn(network, plan, noise):
    def denoiser(z, timestep, extra):
        return network(z, jnp.full(len(z), timestep))

    return np.asarray(sampling.sample(denoiser, plan, jnp.asarray(noise, jnp.float32)))


def test_sliced_distance_of_a_shift():
    """Each projection moves by the shift's own."""
    points = np.random.RandomState(0).standard_normal((500, 3))
    directions, shift = np.eye(3)[:, :2], np.array([0.3, -0.4, 9.0])
    quantiles = sliced_quantiles(points, directions, 500)
    moved = sliced_distance(points + shift, quantiles, directions)
    np.testing.assert_allclose(moved, np.sqrt((0.3**2 + 0.4**2) / 2), rtol=1e-12)
    assert sliced_distance(points[::-1], quantiles, directions) == 0


def test_sliced_distance_of_gaussians():
    """W2 of N(0, 1) and N(0, 4) is 1; quantiles of many points stand for a few."""
    points = np.random.RandomState(1).standard_normal((400_000, 1))
    quantiles = sliced_quantiles(points, np.ones((1, 1)), 1000)
    assert quantiles.shape == (1000, 1)
    np.testing.assert_allclose(
        sliced_distance(2 * quantiles, quantiles, np.ones((1, 1))), 1, atol=0.01
    )


def test_the_perfect_student_of_a_gaussian_is_at_the_floor():
    """One step or 25: x0 as the exact flow has it, through the sampler that students have."""
    truth = Truth(mixture=ONE, edm_sigma=FROM, count=512, exact=2**15)
    for steps in (25, 1):
        grid = progressive_grid(SCHEDULE, steps)
        scale = grid.sigma / grid.alpha

        def perfect(z, timesteps, grid=grid, scale=scale):
            index = jnp.abs(timesteps[0] - jnp.asarray(grid.timesteps)).argmin()
            here, there = jnp.asarray(scale)[index], jnp.asarray(scale)[index - 1]
            level = grid.at(index)
            centred = z / level.alpha - jnp.asarray(ONE.means, jnp.float32)
            arrived = centred * jnp.hypot(0.3, there) / jnp.hypot(0.3, here)
            x0 = (here * arrived - there * centred) / (here - there)
            x0 = x0 + jnp.asarray(ONE.means, jnp.float32)
            return (level.alpha * z - x0) / level.sigma

        plan = students.progressive_plan(SCHEDULE, steps=steps, prediction="v")
        figures, floor = truth.figures(drawn(perfect, plan, truth.noise)), truth.floor()
        assert floor["map_error"] == 0
        assert figures["map_error"] < 1e-9
        np.testing.assert_allclose(figures["sliced_w2"], floor["sliced_w2"], rtol=1e-4)
        # And the perfect denoiser, which knows no steps, is not there.
        known = truth.figures(drawn(network(ONE, SCHEDULE), plan, truth.noise))
        assert known["map_error"] > {25: 1e-4, 1: 0.05}[steps]


def test_the_perfect_denoiser_comes_closer_with_more_steps():
    floor, ceiling = TRUTH.floor(), TRUTH.ceiling()
    found = {}
    for steps in (1, 25, 200):
        plan = students.progressive_plan(SCHEDULE, steps=steps, prediction="v")
        found[steps] = TRUTH.figures(drawn(network(MIXTURE, SCHEDULE), plan, TRUTH.noise))
    for name in floor:
        values = [floor[name], *(found[steps][name] for steps in (200, 25, 1))]
        assert (np.diff(values) > 0).all(), name
        assert values[1] < ceiling[name] < values[3]
    # One step is at the mean of all data, whose variance is 1.
    np.testing.assert_allclose(found[1]["map_error"], np.mean(TRUTH.flowed**2), rtol=0.03)


def test_answers_are_where_the_flow_leads():
    """One DDIM step with the x0 of a question arrives there; of a consistency model x0 is the end itself."""
    grid = progressive_grid(SCHEDULE, 5)
    asked = TRUTH.questions(grid)
    assert asked.z.shape == (5 * 16, 4)
    scale = grid.sigma / grid.alpha
    for i in range(1, 6):
        z, x0 = (x[asked.index == i] for x in (asked.z, asked.x0))
        here, there = grid.at(i), grid.at(i - 1)

        def told(z, timesteps, x0=x0):
            return jnp.asarray(x0, jnp.float32)

        stepped, _ = ddim_step(told, jnp.asarray(z, jnp.float32), here, there, prediction="x0")
        arrived = flow(MIXTURE, z / grid.alpha[i], np.full(16, scale[i]), np.full(16, scale[i - 1]))
        np.testing.assert_allclose(stepped, grid.alpha[i - 1] * arrived, atol=2e-5)

    grid = uniform_grid(SCHEDULE, 6)
    asked = TRUTH.questions(grid, end=True)
    here = (grid.sigma / grid.alpha)[asked.index]
    arrived = flow(MIXTURE, asked.z / grid.alpha[asked.index, None], here, 0 * here)
    np.testing.assert_allclose(asked.x0, arrived, atol=1e-5)


def test_questions_are_of_the_data_at_every_level():
    grid = progressive_grid(SCHEDULE, 5)
    asked = Truth(mixture=MIXTURE, edm_sigma=FROM, per_level=512).questions(grid)
    for index in (1, 5):
        z = asked.z[asked.index == index]
        variance = grid.alpha[index] ** 2 * MIXTURE.covariance + grid.sigma[index] ** 2 * np.eye(4)
        np.testing.assert_allclose(np.cov(z.T), variance, atol=0.25)


def test_errors_by_level():
    asked = Questions(np.array([1, 2, 2]), np.zeros((3, 2)), np.zeros((3, 2)))
    said = np.array([[1.0, 0.0], [2.0, 2.0], [0.0, 0.0]])
    np.testing.assert_allclose(error_by_level(said, asked), [0.5, 2.0])
    assert map_error(said, asked.x0) == 1.5


def test_noise_is_spread_evenly():
    """More evenly than 256 independent draws: the deviation of a mean is a sixteenth of theirs or less."""
    assert np.abs(TRUTH.noise.mean(axis=0)).max() < 1 / 16 / 16
    np.testing.assert_allclose(TRUTH.noise.var(axis=0), 1, atol=0.03)
    again = Truth(mixture=MIXTURE, edm_sigma=FROM, count=256)
    np.testing.assert_array_equal(again.noise, TRUTH.noise)
    other = Truth(mixture=MIXTURE, edm_sigma=FROM, count=256, seed=1)
    assert not np.allclose(other.noise, TRUTH.noise)


def test_a_wrong_answer_is_seen():
    """`answers` on a grid whose last step is not to clean data."""
    grid = progressive_grid(SCHEDULE, 4)
    z = np.asarray(jax.random.normal(jax.random.key(0), (1, 4)))
    step = answers(MIXTURE, z, grid, np.array([3]), end=False)
    whole = answers(MIXTURE, z, grid, np.array([3]), end=True)
    assert map_error(step, whole) > 1e-3
