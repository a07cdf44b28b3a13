"""Training against Adam written out, and lessons whose outcome is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.diffusion import schedules, weightings
from ldm_jax.distill.consistency import level_weights, read_x0
from ldm_jax.distill.grid import loss_weights, uniform_grid
from ldm_jax.distill.progressive import chain
from ldm_jax.study.denoisers import Budget, Denoiser, Lessons, descend
from ldm_jax.study.mixture import Mixture
from ldm_jax.study.truth import Truth, error_by_level

SCHEDULE = schedules.scaled_linear()
DATA = Mixture(np.ones(1), np.array([[0.8, -0.4]]), 0.5)


def test_descend_is_adam_with_a_falling_rate():
    """With a moving average beside it, that sees every update."""
    target = jnp.asarray([3.0, -1.0])
    budget = Budget(steps=4, batch=1, learning_rate=0.5)

    def loss(x, average, key):
        return ((x - target) ** 2).sum() + 0.1 * jax.random.normal(key) * x.sum()

    def follow(average, x):
        return 0.9 * average + 0.1 * x

    start = jnp.asarray([0.0, 0.5])
    key = jax.random.key(0)
    found, kept = descend(loss, budget, start, start, key, after=follow)

    x = average = np.array([0.0, 0.5])
    m = v = np.zeros(2)
    for step in range(4):
        noise = float(jax.random.normal(jax.random.fold_in(key, step)))
        gradient = 2 * (x - np.asarray(target)) + 0.1 * noise
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        rate = 0.5 * (1 - step / 4)
        x = x - rate * (m / (1 - 0.9 ** (step + 1))) / (
            np.sqrt(v / (1 - 0.999 ** (step + 1))) + 1e-8
        )
        average = 0.9 * average + 0.1 * x
    np.testing.assert_allclose(found, x, rtol=1e-4)
    np.testing.assert_allclose(kept, average, rtol=1e-4)


@pytest.fixture(scope="module")
def lessons():
    return Lessons(
        mixture=DATA,
        schedule=SCHEDULE,
        module=Denoiser(dim=2, width=32, layers=2),
        chain=chain(SCHEDULE, 4, (2, 1)),
        grid=uniform_grid(SCHEDULE, 8),
    )


def error_of(lessons, params, grid, *, end=False):
    """Of x0 against the exact flow, by level; data of variance 0.25."""
    truth = Truth(mixture=DATA, edm_sigma=float(SCHEDULE.edm_sigma[-1]), per_level=64)
    asked = truth.questions(grid, end=end)
    level = grid.at(jnp.asarray(asked.index))
    z = jnp.asarray(asked.z, jnp.float32)
    output = lessons.ask(params)(z, level.timestep)
    return error_by_level(np.asarray(read_x0(output, z, level, prediction="v")), asked)


def of_four_steps():
    """What the perfect denoiser's DDIM in four steps misses of the flow, by the lines that both are: 0.082."""
    truth = Truth(mixture=DATA, edm_sigma=float(SCHEDULE.edm_sigma[-1]), per_level=64)
    grid = chain(SCHEDULE, 4, (1,)).grid
    asked = truth.questions(chain(SCHEDULE, 4, (1,)).student_grid(0))
    scale = grid.sigma / grid.alpha
    slope = np.prod(
        [1 + (s - t) / t * t**2 / (0.25 + t**2) for t, s in zip(scale[1:], scale, strict=False)]
    )
    centred = asked.z / grid.alpha[-1] - DATA.means
    return ((DATA.means + slope * centred - asked.x0) ** 2).mean()


def of_heun(grid):
    """What Heun's steps down the grid miss, from each level, likewise: 0.005 from the noisiest."""
    truth = Truth(mixture=DATA, edm_sigma=float(SCHEDULE.edm_sigma[-1]), per_level=64)
    asked = truth.questions(grid, end=True)
    scale, slopes = grid.sigma / grid.alpha, [1.0]
    for t, s in zip(scale[1:], scale, strict=False):
        first, second = (x / (0.25 + x**2) for x in (t, s))
        slopes.append(slopes[-1] * (1 + (s - t) * (first + (1 + (s - t) * first) * second) / 2))
    centred = asked.z / grid.alpha[asked.index, None] - DATA.means
    return error_by_level(DATA.means + np.array(slopes)[asked.index, None] * centred, asked)


def bsa(lessons):
    weights = loss_weights(lessons.chain.grid, weightings.bsa, "v")
    return jnp.asarray(weights, jnp.float32)


BUDGET = Budget(steps=400, batch=64, learning_rate=5e-3)


@pytest.mark.slow
def test_students_learn_the_exact_flow(lessons):
    """Of one Gaussian. The network that they begin as says E[x0 | z], which is wrong by what noise has hidden."""
    key = jax.random.key(1)
    start = lessons.pretrain(key, bsa(lessons), budget=BUDGET)
    one_step = lessons.chain.student_grid(1)
    assert error_of(lessons, start, one_step)[0] > 0.2

    students = [start]
    for number in range(2):
        student = lessons.round(
            jnp.asarray(number),
            students[-1],
            students[-1] if number else None,
            bsa(lessons),
            jax.random.fold_in(key, number),
            factor=2,
            budget=BUDGET,
        )
        students.append(student)
    np.testing.assert_allclose(error_of(lessons, students[2], one_step), of_four_steps(), rtol=0.1)

    weights = jnp.asarray(level_weights(lessons.grid, weightings.bsa), jnp.float32)
    consistent = lessons.consistent(start, weights, key, budget=BUDGET)
    before = error_of(lessons, start, lessons.grid, end=True)
    after = error_of(lessons, consistent, lessons.grid, end=True)
    exact = of_heun(lessons.grid)
    assert (after < 2 * exact).all(), (before, after, exact)
    assert before[-1] > 40 * exact[-1]

    again = lessons.pretrain(key, bsa(lessons), budget=BUDGET)
    jax.tree.map(np.testing.assert_array_equal, start, again)


@pytest.mark.slow
def test_only_the_shape_of_a_weighting_matters(lessons):
    """Ten times the weights give the same student, to what rounding makes of it in a few steps."""
    few = Budget(steps=20, batch=64, learning_rate=5e-3)
    one, ten = (
        lessons.pretrain(jax.random.key(2), factor * bsa(lessons), budget=few) for factor in (1, 10)
    )
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4), one, ten)
    other = lessons.pretrain(jax.random.key(2), jnp.ones(5), budget=few)
    with pytest.raises(AssertionError):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-3), one, other)
