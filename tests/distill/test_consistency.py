"""Consistency distillation where the teacher's flow is known: a Gaussian's in closed form, a mixture's by quantiles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.diffusion import parameterization, schedules, weightings
from ldm_jax.distill import consistency
from ldm_jax.distill import grid as grids
from ldm_jax.distill.grid import Grid, Level
from tests.diffusion import gaussian
from tests.distill.mixture import LINE, Mixture

SCHEDULE = schedules.scaled_linear(
    beta_start=0.00085, beta_end=0.012
)  # TANGO's and ConsistencyTTA's
GRID = grids.uniform_grid(SCHEDULE)
NORMAL = Mixture(np.ones(1), np.full((1, 3), gaussian.MEAN), gaussian.STD)
PREDICTIONS = ("v", "eps", "x0")
BATCH = GRID.steps
X0, EPS = np.random.RandomState(0).standard_normal((2, BATCH, 3))
MIXED = np.random.RandomState(1).permutation(np.arange(1, BATCH + 1))  # every interval once


def double(*arrays):
    return tuple(jnp.asarray(x, jnp.float64) for x in arrays)


def intervals(index=MIXED, grid=GRID, dtype=jnp.float64):
    index = jnp.asarray(index)
    return grid.at(index, dtype), grid.at(index - 1, dtype)


def column(level: Level) -> Level:
    return Level(*(np.asarray(x)[:, None] for x in level))


def perfect(mixture: Mixture, grid: Grid, prediction: str):
    """The denoiser E[x0 | z] at the levels of a grid."""

    def network(z, timesteps):
        levels = grid.at(jnp.arange(grid.steps + 1), z.dtype)
        return mixture.network(levels, prediction)(z, timesteps)

    return network


def exact_flow(network, z, here, there, *, prediction):
    """A solver that makes no error."""
    return jnp.asarray(gaussian.flow(np.asarray(z), column(here), column(there)))


def exact_student(grid: Grid, prediction: str):
    """The network whose x0 is where the flow from z ends."""

    def network(z, timesteps):
        known = jnp.asarray(grid.timesteps, z.dtype)
        level = grid.at(jnp.argmin(jnp.abs(timesteps[:, None] - known[None]), axis=1), z.dtype)
        clean = Level(*(jnp.zeros_like(x) for x in level))._replace(
            alpha=jnp.ones_like(level.alpha)
        )
        x0 = exact_flow(None, z, level, clean, prediction="")
        return parameterization.convert(
            x0, z, source="x0", target=prediction, alpha=level.alpha, sigma=level.sigma
        )

    return network


def stepping(solver, network, prediction):
    """One compiled step of a solver."""
    return jax.jit(functools.partial(consistency.SOLVERS[solver], network, prediction=prediction))


def grid_of(edm_sigmas) -> Grid:
    alpha = 1 / np.hypot(1, edm_sigmas)
    return Grid(np.arange(len(edm_sigmas)) * 10.0, alpha, edm_sigmas * alpha)


@pytest.mark.parametrize(("solver", "order"), [("heun", 3), ("ddim", 2)])
@pytest.mark.parametrize(
    ("data", "prediction"), [*(("gaussian", kind) for kind in PREDICTIONS), ("mixture", "v")]
)
def test_order_of_one_step(data, solver, order, prediction):
    """The error of one step falls as h^3, or h^2, over halvings of its length h in sigma / alpha."""
    lengths = 0.05 / 2 ** np.arange(5)
    grid = grid_of(np.append(0.9 - lengths, 0.9))
    mixture = {"gaussian": NORMAL, "mixture": LINE}[data]
    start = np.array([[1.3, -0.4, 0.2]]) if data == "gaussian" else np.array([[0.35]])
    with jax.enable_x64(True):
        z = jnp.tile(jnp.asarray(start), (5, 1))
        here, there = grid.at(jnp.full(5, 5), jnp.float64), grid.at(jnp.arange(5), jnp.float64)
        ours = np.asarray(
            stepping(solver, perfect(mixture, grid, prediction), prediction)(z, here, there)
        )
    if data == "gaussian":
        known = gaussian.flow(np.asarray(z), column(here), column(there))
    else:
        levels = list(zip(grid.alpha, grid.sigma, strict=True))
        known = np.concatenate(
            [mixture.quantile_flow(start, levels[-1], level) for level in levels[:-1]]
        )
    errors = np.linalg.norm(ours - known, axis=1)
    assert errors[0] < 0.05
    slopes = np.log2(errors[:-1] / errors[1:])
    assert abs(slopes[-1] - order) < 0.06
    assert (np.diff(abs(slopes - order)) < 0.01).all()  # ever nearer


def test_heun_is_consistency_ttas():
    """Written out in z / alpha with its formula for x0, clip by clip, over all 17 intervals of the grid."""

    def v_of(z, alpha, sigma):
        x0 = gaussian.MEAN + alpha * gaussian.STD**2 / ((alpha * gaussian.STD) ** 2 + sigma**2) * (
            z - alpha * gaussian.MEAN
        )
        return (alpha * z - x0) / sigma

    def slope(y, s):
        scale = np.sqrt(s**2 + 1)
        x0 = y / scale**2 - v_of(y / scale, 1 / scale, s / scale) * s / scale
        return (y - x0) / s

    with jax.enable_x64(True):
        here, there = intervals()
        z = consistency.noisy(*double(X0, EPS), here, pure_noise=jnp.asarray(MIXED == BATCH))
        step = stepping("heun", perfect(NORMAL, GRID, "v"), "v")
        ours = np.asarray(step(z, here, there))
        for i in range(BATCH):
            s, s_there = (float(level.sigma[i] / level.alpha[i]) for level in (here, there))
            y = X0[i] + s * EPS[i] if MIXED[i] < BATCH else s * EPS[i]
            euler = y + (s_there - s) * slope(y, s)
            expected = y + (s_there - s) * (slope(y, s) + slope(euler, s_there)) / 2
            np.testing.assert_allclose(
                ours[i] * np.sqrt(s_there**2 + 1), expected, rtol=1e-12, atol=1e-13
            )
            alone = step(z[i : i + 1], *(Level(*(x[i] for x in level)) for level in (here, there)))
            np.testing.assert_allclose(alone[0], ours[i], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_heun_in_float32(prediction):
    """Rounding does not grow, not even from AudioLDM 2's sigma / alpha of 84."""
    grid = grids.uniform_grid(schedules.scaled_linear())
    index = np.arange(1, BATCH + 1)
    steps = []
    for dtype in (jnp.float32, jnp.float64):
        with jax.enable_x64(dtype is jnp.float64):
            z = jnp.asarray(EPS.astype(np.float32), dtype)
            step = stepping("heun", perfect(NORMAL, grid, prediction), prediction)
            steps.append(np.asarray(step(z, *intervals(index, grid, dtype))))
    assert steps[0].dtype == np.float32
    assert np.abs(steps[0] - steps[1]).max() < 5e-6 * np.abs(steps[1]).max()


@pytest.mark.parametrize("prediction", ["v", "x0"])
def test_heun_ends_in_clean_data_as_ddim(prediction):
    """One program for clips that end there and clips that don't; nothing is asked where no network was trained."""
    grid = grids.progressive_grid(SCHEDULE, 5)
    exact = perfect(NORMAL, grid, prediction)

    def network(z, timesteps):
        return jnp.where(timesteps[:, None] < 0, jnp.nan, exact(z, timesteps))

    with jax.enable_x64(True):
        z, levels = jnp.asarray(X0[:3]), intervals(np.array([1, 3, 1]), grid)
        heun = np.asarray(stepping("heun", network, prediction)(z, *levels))
        ddim = np.asarray(stepping("ddim", network, prediction)(z, *levels))
    np.testing.assert_allclose(heun[[0, 2]], ddim[[0, 2]], rtol=1e-13)
    assert 1e-3 < np.abs(heun[1] - ddim[1]).max() < 0.1


def test_steps_in_a_row_follow_the_flow():
    """From the noisiest level to the cleanest with a traced index; twice the points, a quarter of the error."""
    errors = []
    with jax.enable_x64(True):
        z = jnp.asarray(EPS)
        for points in (33, 65):
            grid = grids.karras_grid(SCHEDULE, points)
            network = perfect(NORMAL, grid, "v")

            @jax.jit
            def run(z, grid=grid, network=network):
                def step(j, z):
                    levels = intervals(grid.steps - j, grid)
                    return consistency.heun_step(network, z, *levels, prediction="v")

                return jax.lax.fori_loop(0, grid.steps, step, z)

            ends = (gaussian.Level(a, s) for a, s in zip(grid.alpha, grid.sigma, strict=True))
            first, *_, last = ends
            errors.append(np.abs(run(z) - gaussian.flow(EPS, last, first)).max())
    assert errors[0] < 5e-3
    assert abs(np.log2(errors[0] / errors[1]) - 2) < 0.1


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_exact_student_is_a_fixed_point(prediction):
    """With an exact teacher its loss is 0 to rounding at every interval, where nothing but z is known."""
    with jax.enable_x64(True):
        x0, eps = double(X0, EPS)
        here, there = intervals()
        z = consistency.noisy(x0, eps, here, pure_noise=jnp.asarray(MIXED == BATCH))
        student = exact_student(GRID, prediction)
        target = consistency.consistency_target(
            student, lambda z, t: z, x0, z, here, there, solver=exact_flow,
            teacher_prediction="v", prediction=prediction, boundary="network",
        )  # fmt: skip
        said = consistency.read_x0(student(z, here.timestep), z, here, prediction=prediction)
        np.testing.assert_allclose(said, target, rtol=1e-12, atol=1e-12)
        # And with the teacher's own solver the loss is its error alone.
        wrong = consistency.consistency_target(
            student, perfect(NORMAL, GRID, "v"), x0, z, here, there, solver="heun",
            teacher_prediction="v", prediction=prediction, boundary="network",
        )  # fmt: skip
    assert 1e-3 < np.abs(wrong - said).max() < 0.1


@pytest.mark.parametrize(
    "grid",
    [GRID, grids.karras_grid(SCHEDULE), grids.progressive_grid(SCHEDULE, 20)],
    ids=["uniform", "karras", "progressive"],
)
def test_boundaries(grid):
    """The clips themselves are the target where the grid ends, to the bit, and nowhere else."""
    index = np.array([1, 7, 1, grid.steps, 2])
    ends = index == 1
    x0, eps = (jnp.asarray(x[:5], jnp.float32) for x in (X0, EPS))
    here, there = intervals(index, grid, jnp.float32)
    z = consistency.noisy(x0, eps, here, pure_noise=jnp.asarray(index == grid.steps))

    def network(z, timesteps):
        return jnp.tanh(z + jnp.cos(timesteps)[:, None])

    def target(boundary):
        return np.asarray(
            consistency.consistency_target(
                network,
                network,
                x0,
                z,
                here,
                there,
                solver="heun",
                teacher_prediction="v",
                prediction="v",
                boundary=boundary,
            )
        )

    np.testing.assert_array_equal(target("data")[ends], x0[ends])
    np.testing.assert_array_equal(target("data")[~ends], target("network")[~ends])
    assert (np.abs(target("network") - x0) > 1e-3).any(axis=1).all()


@pytest.mark.parametrize(("solver", "calls"), [("heun", 2), ("ddim", 1)])
def test_what_a_target_costs(solver, calls):
    """Calls of each network, counted while tracing; a batch of mixed levels is one program."""
    counts = {"teacher": [], "target": []}

    def counted(name, z, timesteps):
        counts[name].append(z.shape)
        return z

    here, there = intervals(dtype=jnp.float32)
    jax.eval_shape(
        lambda x0, z: consistency.consistency_target(
            functools.partial(counted, "target"), functools.partial(counted, "teacher"),
            x0, z, here, there, solver=solver, teacher_prediction="v", prediction="x0", boundary="data",
        ),
        *[jax.ShapeDtypeStruct((BATCH, 4, 2), jnp.float32)] * 2,
    )  # fmt: skip
    assert counts == {"teacher": [(BATCH, 4, 2)] * calls, "target": [(BATCH, 4, 2)]}


@pytest.mark.parametrize("boundary", consistency.BOUNDARIES)
def test_no_gradient_passes_through_a_target(boundary):
    """Nor to the parameters of target and teacher, nor to the data."""
    x0, eps = (jnp.asarray(x, jnp.float32) for x in (X0, EPS))
    here, there = intervals(dtype=jnp.float32)

    def total(parameters, x0, z):
        def network(z, timesteps):
            return jnp.tanh(z * parameters)

        return consistency.consistency_target(
            network, network, x0, z, here, there, solver="heun",
            teacher_prediction="v", prediction="v", boundary=boundary,
        ).sum()  # fmt: skip

    value, gradients = jax.value_and_grad(total, argnums=(0, 1, 2))(jnp.float32(0.3), x0, eps)
    assert np.isfinite(value)
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)


def test_readings():
    """ConsistencyTTA's, which starts with the wrong sign; v, which starts at a teacher's x0; latent consistency's."""
    with jax.enable_x64(True):
        x0, eps = double(X0, EPS)
        level = GRID.at(jnp.asarray(MIXED), jnp.float64)
        z = consistency.noisy(x0, eps, level, pure_noise=jnp.zeros(BATCH, bool))
        read = functools.partial(consistency.read_x0, z=z, level=level)
        known = NORMAL.x0(z, level.alpha, level.sigma)
        outputs = {kind: perfect(NORMAL, GRID, kind)(z, level.timestep) for kind in PREDICTIONS}
        np.testing.assert_array_equal(read(outputs["v"], prediction="x0"), outputs["v"])
        for kind in PREDICTIONS:
            np.testing.assert_allclose(
                read(outputs[kind], prediction=kind), known, rtol=1e-12, atol=1e-12
            )
        # Song et al.'s with deviation 1, of F = -v, in y = z / alpha.
        s = np.asarray(level.sigma / level.alpha)[:, None]
        y, f = z / level.alpha[:, None], -outputs["v"]
        song = y / (s**2 + 1) + s / np.sqrt(s**2 + 1) * f
        np.testing.assert_allclose(read(outputs["v"], prediction="v"), song, rtol=1e-12, atol=1e-12)
        t = GRID.timesteps[MIXED][:, None]
        for word, d, scaling in (
            ("lcm:of=v", 0.5, 10),
            ("lcm:of=v,sigma_data=30,scaling=2", 30, 2),
        ):
            skip = d**2 / ((scaling * t) ** 2 + d**2)
            out = scaling * t / np.sqrt((scaling * t) ** 2 + d**2)
            np.testing.assert_allclose(
                read(outputs["v"], prediction=word), skip * z + out * known, rtol=1e-12, atol=1e-12
            )


@pytest.mark.parametrize(
    ("prediction", "fulfilled"),
    [("v", True), ("eps", True), ("lcm", True), ("lcm:of=v,scaling=3", True), ("x0", False)],
)
def test_who_fulfils_the_boundary(prediction, fulfilled):
    """At sigma = 0 the student says z, whatever its output, or it does not."""
    z, output = jnp.asarray(X0, jnp.float32), jnp.asarray(EPS, jnp.float32)
    clean = grids.progressive_grid(SCHEDULE, 4).at(jnp.zeros(BATCH, int))
    said = consistency.read_x0(output, z, clean, prediction=prediction)
    np.testing.assert_array_equal(said, z if fulfilled else output)


def test_noisy():
    """The noisiest level has no signal left: z / alpha is 14.615 eps."""
    level = GRID.at(jnp.asarray([BATCH, BATCH, 2]))
    x0, eps = (jnp.asarray(x[:3], jnp.bfloat16) for x in (X0, EPS))
    z = consistency.noisy(x0, eps, level, pure_noise=jnp.asarray([True, False, False]))
    assert z.dtype == jnp.float32
    x0, eps = (np.asarray(x, np.float64) for x in (x0, eps))
    y = np.asarray(z, np.float64) / np.asarray(level.alpha)[:, None]
    np.testing.assert_allclose(y[0], 14.615 * eps[0], rtol=4e-5)
    np.testing.assert_allclose(y[1], x0[1] + 14.615 * eps[1], rtol=4e-5, atol=2e-4)
    np.testing.assert_allclose(y[2], x0[2] + 0.383 * eps[2], rtol=2e-3, atol=2e-4)


def test_weights():
    """ConsistencyTTA's, noisiest first, to all printed digits; what others would give the noisiest."""
    printed = ".0047 .0093 .017 .031 .053 .086 .136 .209 .314 .466 .685 1.009 1.506 2.313 3.755 5 5"
    weights = consistency.level_weights(GRID, weightings.weighting("min_snr"))
    assert f"{weights[-1]:.6f}" == "0.004682"
    for ours, known in zip(weights[:0:-1], printed.split(), strict=True):
        assert f"{ours:.{len(known.partition('.')[2])}f}".removeprefix("0") == known
    shares = {"min_snr": "0.023", "bsa": "3.4", "truncated": "2.3", "snr_plus_one": "2.0"}
    for name, share in shares.items():
        weights = consistency.level_weights(GRID, weightings.weighting(name))
        assert f"{100 * weights[-1] / weights.sum():.{len(share) - 2}f}" == share


def test_weights_by_width():
    """1 / (sigma_n - sigma_{n-1}) of ConsistencyTTA's printed sigmas, times the weighting."""
    sigmas = np.array([0.0292, 0.248, 0.383, 0.516, 0.658, 0.815])
    ours = consistency.level_weights(GRID, weightings.uniform, inverse_width=True)
    assert ours[0] == 0
    np.testing.assert_allclose(ours[1:6], 1 / np.diff(sigmas), rtol=0.01)
    snr = consistency.level_weights(GRID, weightings.snr, inverse_width=True)
    np.testing.assert_allclose(snr[1:6], sigmas[1:] ** -2 / np.diff(sigmas), rtol=0.02)


FINE = {
    "weighting": weightings.min_snr,
    "prediction": "v",
    "boundary": "data",
    "teacher_prediction": "v",
}
BACK = Grid(*(table[::-1] for table in (GRID.timesteps, GRID.alpha, GRID.sigma)))
CUT = Grid(*(table[3:] for table in (GRID.timesteps, GRID.alpha, GRID.sigma)))


@pytest.mark.parametrize(
    ("grid", "options", "message"),
    [
        (CUT, {}, "'data' needs a grid that ends at timestep 0, but this one ends at 176.294;"),
        (GRID, {"prediction": "x0", "boundary": "network"}, "'x0' is not: a student could learn"),
        (grids.progressive_grid(SCHEDULE, 4, pure_noise=True), {}, "but the noisiest has none"),
        (BACK, {"boundary": "network"}, "must rise in sigma / alpha with their index"),
        (GRID, {"weighting": lambda log_snr: np.log(log_snr)}, "nan at level 17 of 17"),
        (GRID, {"weighting": lambda log_snr: 0 * log_snr}, "with 0 at all 17 levels"),
        (GRID, {"solver": "euler"}, "The solver must be one of heun, ddim, but got 'euler'"),
        (GRID, {"boundary": "none"}, "The boundary must be one of data, network"),
        (GRID, {"prediction": "score"}, "student's prediction must be one of eps, x0, v, lcm"),
        (GRID, {"prediction": "lcm:of=lcm"}, "reading under lcm must be one of eps, x0, v"),
        (GRID, {"prediction": "v:scaling=1"}, "has no options, but got scaling=1"),
        (GRID, {"teacher_prediction": "lcm"}, "The teacher's prediction must be one of eps, x0, v"),
    ],
)  # fmt: skip
def test_what_is_refused(grid, options, message):
    with pytest.raises(ValueError, match=message):
        consistency.check(grid, **(FINE | options))


@pytest.mark.parametrize(
    ("grid", "options"),
    [
        (GRID, {"prediction": "x0"}),
        (grids.karras_grid(SCHEDULE), {}),
        (CUT, {"boundary": "network"}),
        (grids.progressive_grid(SCHEDULE, 4), {"solver": "ddim", "prediction": "lcm"}),
    ],
)
def test_what_is_not_refused(grid, options):
    """A grid whose last timestep misses 0 by rounding is among it."""
    consistency.check(grid, **(FINE | options))
