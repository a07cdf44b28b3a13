"""The progressive target with perfect teachers, and chains of rounds."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.diffusion import parameterization, schedules
from ldm_jax.distill import grid as grids
from ldm_jax.distill import progressive
from ldm_jax.distill.grid import Level
from tests.diffusion import gaussian
from tests.distill import mixture

SCHEDULES = {
    "scaled_linear": schedules.scaled_linear(),
    "zero terminal": schedules.rescale_zero_terminal_snr(schedules.scaled_linear()),
    "cosine": schedules.cosine(),
}
# eps determines no step from pure noise.
TOLD = sorted({*itertools.product(SCHEDULES, ("x0", "v", "eps"))} - {("zero terminal", "eps")})
STUDENTS = (100, 50, 25, 5, 1)
# Three components in one place, so that it shares the mixture's programs.
GAUSSIAN = mixture.Mixture(mixture.PLANE.weights, np.full((3, 2), gaussian.MEAN), gaussian.STD)
TEACHERS = {"gaussian": GAUSSIAN, "mixture": mixture.PLANE}
CLIPS = 175


def every_path(schedule, factor):
    """The chain from 200 steps; paths (175 clips) at all levels of all its rounds of one factor, in float64."""
    chain = progressive.chain(SCHEDULES[schedule], 200, STUDENTS)
    starts, strides = np.concatenate(
        [
            [(i * 200 // student, 200 // student // factor) for i in range(1, student + 1)]
            for student, its in zip(chain.students, chain.factors, strict=True)
            if its == factor
        ]
    ).T
    assert len(starts) == {2: 175, 5: 6}[factor]
    starts, strides = np.resize(starts, CLIPS), np.resize(strides, CLIPS)
    tables = (chain.grid.timesteps, chain.grid.alpha, chain.grid.sigma)
    return Level(*tables), [
        Level(*(table[starts - j * strides] for table in tables)) for j in range(factor + 1)
    ]


def noisy(data, level, dtype=np.float64):
    """Latents (175, 2) at a level, in NumPy."""
    eps = np.random.RandomState(1).standard_normal((CLIPS, 2))
    z = level.alpha[:, None] * data.sample(0, CLIPS) + level.sigma[:, None] * eps
    return z.astype(dtype)


def host(tree):
    return jax.tree.map(np.asarray, tree)


def walk(network, z, path, prediction):
    for here, there in itertools.pairwise(path):
        z, _ = progressive.ddim_step(network, z, here, there, prediction=prediction)
    return z


def said(output):
    """A network that says this, whatever it is asked."""
    return lambda z, timesteps: output


def teach(data, levels, path, z, *, prediction):
    """(target, where the teacher's steps end)."""
    network, z = data.network(levels, prediction), jnp.asarray(z)
    path = jax.tree.map(jnp.asarray, path)
    target = progressive.progressive_target(network, z, path, prediction=prediction)
    return target, walk(network, z, path, prediction)


def follow(target, z, here, there, *, prediction):
    """One step of a student that has learnt its target in some kind of prediction."""
    target, z, here, there = jax.tree.map(jnp.asarray, (target, z, here, there))
    output = parameterization.convert(
        target, z, source="x0", target=prediction, alpha=here.alpha, sigma=here.sigma
    )
    return progressive.ddim_step(said(output), z, here, there, prediction=prediction)


def by_formula(data, z, path):
    """(target, end) of a Gaussian's linear denoiser as the paper writes them, in NumPy."""
    levels = [[np.asarray(scale, np.float64)[:, None] for scale in level[1:]] for level in path]
    mean, end = data.means[0], z
    for (alpha, sigma), there in itertools.pairwise(levels):
        variance = (alpha * data.std) ** 2 + sigma**2
        x0 = mean + alpha * data.std**2 / variance * (end - alpha * mean)
        end = there[0] * x0 + there[1] * (end - alpha * x0) / sigma
    ratio = levels[-1][1] / levels[0][1]
    return (end - ratio * z) / (levels[-1][0] - ratio * levels[0][0]), end


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("factor", [2, 5])
@pytest.mark.parametrize("data", TEACHERS)
@pytest.mark.parametrize(("schedule", "prediction"), TOLD)
def test_one_step_lands_where_the_teachers_do(schedule, prediction, data, factor, double):
    """At all levels of 200 to 100 to 50 to 25 steps, and of 25 to 5 to 1; the student told in any kind."""
    with jax.enable_x64(double):
        dtype = np.float64 if double else np.float32
        levels, path = jax.tree.map(lambda x: x.astype(dtype), every_path(schedule, factor))
        z = noisy(TEACHERS[data], path[0], dtype)
        target, expected = host(teach(TEACHERS[data], levels, path, z, prediction=prediction))
        for kind in {"x0", "v", prediction}:
            ours, x0 = host(follow(target, z, path[0], path[-1], prediction=kind))
            assert ours.dtype == expected.dtype == dtype
            # eps names x0 by the difference of two numbers 1 / alpha times as large.
            size = 1 / path[0].alpha[:, None] if prediction == "eps" else 1.0
            off = np.abs(ours - expected) / np.maximum(1, np.abs(expected))
            assert (off / size).max() < (1e-12 if double else 1e-6)
            assert np.abs((x0 - target) / size).max() < (1e-12 if double else 4e-6)


@pytest.mark.parametrize("factor", [2, 5])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_it_is_the_published_formula(schedule, factor):
    """(z'' - r z) / (alpha'' - r alpha), of whatever the teacher's steps end at, and of a Gaussian in NumPy."""
    with jax.enable_x64(True):
        levels, path = every_path(schedule, factor)
        ratio = (path[-1].sigma / path[0].sigma)[:, None]
        for data in TEACHERS.values():
            z = noisy(data, path[0])
            ours, end = host(teach(data, levels, path, z, prediction="v"))
            theirs = (end - ratio * z) / (path[-1].alpha[:, None] - ratio * path[0].alpha[:, None])
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-11)
            # At the clean end it is where the teacher got to, to the bit.
            clean = path[-1].sigma == 0
            assert clean.any()
            np.testing.assert_array_equal(ours[clean], end[clean])
            if data is GAUSSIAN:
                target, known = by_formula(data, z, path)
                np.testing.assert_allclose(end, known, rtol=0, atol=1e-12)
                np.testing.assert_allclose(ours, target, rtol=0, atol=1e-11)


def test_nothing_cancels_in_single_precision():
    """1000 steps to 500, in float32: the published formula loses 200 times more than rounding."""
    chain = progressive.chain(SCHEDULES["scaled_linear"], 1000, (500,))
    index = 1000 - 2 * (np.arange(CLIPS) * 2)
    tables = (chain.grid.timesteps, chain.grid.alpha, chain.grid.sigma)
    path = [Level(*(table[index - j] for table in tables)) for j in range(3)]
    z = noisy(GAUSSIAN, path[0])
    exact, _ = by_formula(GAUSSIAN, z, path)
    single = jax.tree.map(lambda x: x.astype(np.float32), (Level(*tables), path, z))
    ours, end = host(teach(GAUSSIAN, *single, prediction="v"))
    (_, alpha, sigma), _, (_, alpha_end, sigma_end) = single[1]
    ratio = (sigma_end / sigma)[:, None]
    theirs = (end - ratio * single[2]) / (alpha_end[:, None] - ratio * alpha[:, None])
    assert np.abs(ours - exact).max() < 2e-6
    assert np.abs(theirs - exact).max() > 1e-4


@pytest.mark.parametrize("prediction", ["x0", "v"])
@pytest.mark.parametrize("factor", [1, 2, 5])
def test_constant_teacher(factor, prediction):
    """What always says one x0 is its own student; what always says one v is not, but the step is still right."""
    path = every_path("zero terminal", 5)[1][: factor + 1]
    path = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), path)
    z, constant = noisy(mixture.PLANE, path[0], np.float32), np.full((CLIPS, 2), 0.3, np.float32)
    network, z = said(jnp.asarray(constant)), jnp.asarray(z)
    target = progressive.progressive_target(network, z, path, prediction=prediction)
    expected = walk(network, z, path, prediction)
    if prediction == "x0":
        np.testing.assert_allclose(target, constant, rtol=1e-6)
    ours, _ = follow(target, z, path[0], path[-1], prediction="x0")
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)


def test_latents_of_any_rank_and_levels_of_any_clip():
    """Levels one a clip or one for all; what a clip gets does not depend on how its latents are folded."""
    chain = progressive.chain(SCHEDULES["scaled_linear"], 20, (10,))
    z = jnp.asarray(np.random.RandomState(0).standard_normal((3, 2, 1, 2)), jnp.float32)

    def targets(z):
        def network(z, timesteps):
            assert timesteps.shape == (3,)
            return jnp.tanh(z) * parameterization.per_clip(1 + timesteps / 1000, z)

        return [
            progressive.progressive_target(network, z, path, prediction="v")
            for path in (chain.path(0, jnp.full(3, 7), factor=2), chain.path(0, 7, factor=2))
        ]

    folded, flat = jax.jit(lambda z: (targets(z), targets(z.reshape(3, 4))))(z)
    for ours in folded:
        assert ours.shape == z.shape
        np.testing.assert_allclose(ours.reshape(3, 4), flat[0], rtol=1e-6)


def test_precision_is_that_of_the_latents():
    """Half-precision outputs; the target stays float32."""
    levels, path = jax.tree.map(lambda x: x.astype(np.float32), every_path("scaled_linear", 2))
    z = jnp.asarray(noisy(GAUSSIAN, path[0], np.float32))
    path, teacher = jax.tree.map(jnp.asarray, path), GAUSSIAN.network(levels, "v")

    def rounded(back):
        def network(z, timesteps):
            assert z.dtype == jnp.float32
            return teacher(z, timesteps).astype(jnp.bfloat16).astype(back)

        return progressive.progressive_target(network, z, path, prediction="v")

    assert rounded(jnp.bfloat16).dtype == jnp.float32
    np.testing.assert_array_equal(rounded(jnp.bfloat16), rounded(jnp.float32))


def test_as_many_calls_as_the_factor():
    """At the levels of the teacher's steps, and never at the end of the path."""
    chain = progressive.chain(SCHEDULES["scaled_linear"], 25, (5,))

    @jax.jit
    def asked(z):
        timesteps = []
        path = chain.path(0, 2, factor=5)
        network = lambda z, t: timesteps.append(t) or z  # noqa: E731
        progressive.progressive_target(network, z, path, prediction="v")
        return jnp.stack(timesteps)

    np.testing.assert_array_equal(asked(jnp.ones((1, 2)))[:, 0], [399, 359, 319, 279, 239])


def test_a_path_of_one_level_is_refused():
    path = progressive.chain(SCHEDULES["scaled_linear"], 2, (1,)).path(0, 1, factor=2)[:1]
    with pytest.raises(ValueError, match="at least two levels, but got 1"):
        progressive.progressive_target(said(None), jnp.ones((1, 2)), path, prediction="v")


@pytest.mark.parametrize("steps", [(200, 100, 50, 25), (25, 5, 1), (96, 48, 24, 12, 4, 1)])
def test_students_are_every_nth_level(steps):
    """A student's own grid, its teacher's thinned out, and the chain's table: the same numbers to the bit."""
    for schedule in SCHEDULES.values():
        chain = progressive.chain(schedule, steps[0], steps[1:], pure_noise=True)
        assert (chain.rounds, chain.teachers) == (len(steps) - 1, steps[:-1])
        for number, student in enumerate(steps[1:]):
            own = grids.progressive_grid(schedule, student, pure_noise=True)
            thinned = chain.student_grid(number)
            at = np.arange(student + 1) * int(chain.position(number, 1))
            for name in ("timesteps", "alpha", "sigma"):
                np.testing.assert_array_equal(getattr(thinned, name), getattr(own, name))
                np.testing.assert_array_equal(getattr(chain.grid, name)[at], getattr(own, name))


def test_rounds_share_a_program():
    """The round is an argument: three halvings, one compilation, each with its teacher's levels."""
    chain = progressive.chain(SCHEDULES["scaled_linear"], 200, (100, 50, 25, 5))
    assert chain.factors == (2, 2, 2, 5)

    @jax.jit
    def compiled(number, index):
        return chain.path(number, index, factor=2), chain.steps_of(number)

    for number in range(3):
        steps = chain.students[number]
        index = np.array([1, 2, steps])
        path, counted = compiled(jnp.int32(number), jnp.asarray(index))
        teacher = grids.progressive_grid(SCHEDULES["scaled_linear"], 2 * steps)
        assert counted == steps
        for j, level in enumerate(path):
            for name, ours in zip(("timesteps", "alpha", "sigma"), level, strict=True):
                known = getattr(teacher, name)[2 * index - j].astype(np.float32)
                np.testing.assert_array_equal(ours, known)
    assert compiled._cache_size() == 1


@pytest.mark.parametrize("factor", [2, 5])
def test_paths_from_between_the_students_levels(factor):
    """Where the teacher has fewer steps left, steps of length 0 come first and change nothing."""
    chain = progressive.chain(SCHEDULES["zero terminal"], 10, (10 // factor,))
    tables = (chain.grid.timesteps, chain.grid.alpha, chain.grid.sigma)
    with jax.enable_x64(True):
        paths = jax.jit(
            lambda index: chain.teacher_path(0, index, factor=factor, dtype=jnp.float64)
        )
        index = np.arange(CLIPS) % 10 + 1
        path = host(paths(index))
        z = noisy(GAUSSIAN, path[0])
        ours, end = host(teach(GAUSSIAN, Level(*tables), list(path), z, prediction="v"))
        for start in range(1, 11):
            clips = index == start
            downwards = range(start, max(start - factor, 0) - 1, -1)
            levels = [
                Level(*(np.full(clips.sum(), table[i]) for table in tables)) for i in downwards
            ]
            target, known = by_formula(GAUSSIAN, z[clips], levels)
            np.testing.assert_allclose(ours[clips], target, rtol=0, atol=1e-12)
            np.testing.assert_allclose(end[clips], known, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("teacher", "students", "message"),
    [
        (200, (), "at least one student"),
        (
            200,
            (90,),
            "divide its teacher's 200, so one of 1, 2, 4, 5, .*, 100 would fit, but got 90",
        ),
        (200, (100, 40), "teacher's 100, so one of 1, 2, 4, .*, 50 would fit, but got 40"),
        (200, (100, 0), "teacher's 100, .* but got 0"),
        (200, (200,), "teacher's 200, .* but got 200"),
        (1, (1,), "teacher's 1, so nothing shorter would fit, but got 1"),
        (0, (1,), "in 1 to 1000 steps, but got 0"),
        (2000, (1000,), "in 1 to 1000 steps, but got 2000"),
    ],
)
def test_chains_that_are_refused(teacher, students, message):
    with pytest.raises(ValueError, match=message):
        progressive.chain(SCHEDULES["scaled_linear"], teacher, students)


def test_the_mixtures_denoiser_is_tweedies():
    """E[x0 | z] = (z + sigma^2 d log p(z) / dz) / alpha, with the score by differentiation."""

    @jax.jit
    def both(data, z, alpha, sigma):
        score = jax.grad(lambda z: data.log_density(z, alpha, sigma).sum())(z)
        return data.x0(z, alpha, sigma), (z + sigma[:, None] ** 2 * score) / alpha[:, None]

    z, alpha = np.random.RandomState(0).standard_normal((6, 2)), np.linspace(0.05, 0.999, 6)
    with jax.enable_x64(True):
        for data in TEACHERS.values():
            ours, expected = both(data, z, alpha, np.sqrt(1 - alpha**2))
            np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-10)


def test_the_mixtures_flow_keeps_quantiles():
    """Runge-Kutta's flow, which also takes two coordinates, against the closed form in one."""
    here, there = (0.1, np.sqrt(0.99)), (0.995, np.sqrt(1 - 0.995**2))
    z = np.linspace(-2, 2, 7)[:, None]
    ours = mixture.LINE.flow(z, here, there)
    np.testing.assert_allclose(ours, mixture.LINE.quantile_flow(z, here, there), rtol=0, atol=1e-7)
    start = np.random.RandomState(0).standard_normal((5, 2))
    linear = gaussian.flow(start, gaussian.Level(*here), gaussian.Level(*there))
    np.testing.assert_allclose(GAUSSIAN.flow(start, here, there), linear, rtol=0, atol=1e-9)
