"""Levels of students and the weights on them: published figures, closed forms, the diffusion objective."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.diffusion import schedules, student_grid, weightings
from ldm_jax.distill import grid as grids

# TANGO's and ConsistencyTTA's schedule, Stable Diffusion 2.1's.
SCHEDULE = schedules.scaled_linear(beta_start=0.00085, beta_end=0.012)
ZERO_TERMINAL = schedules.rescale_zero_terminal_snr(SCHEDULE)
# sigma / alpha of ConsistencyTTA's 18 points, as its code lays them.
CONSISTENCY_TTA = [
    14.615, 10.381, 7.581, 5.679, 4.353, 3.404, 2.709, 2.186, 1.783,
    1.466, 1.209, 0.996, 0.815, 0.658, 0.516, 0.383, 0.248, 0.0292,
]  # fmt: skip
# Percent of the summed weight on x0 at the noisiest level, at levels of SNR below 1, and above 5.
SHARES = {
    25: {
        "uniform": ("4.00", "68.0", "12.0"),
        "snr": ("0.008", "6.6", "72.6"),
        "snr_plus_one": ("1.17", "24.5", "54.9"),
        "truncated": ("1.36", "23.1", "59.8"),
        "min_snr": ("0.015", "12.6", "47.4"),
        "bsa": ("2.24", "38.1", "33.6"),
        "debiased": ("0.27", "26.4", "43.2"),
    },
    100: {
        "uniform": ("1", None, None),
        "min_snr": ("0.003", None, None),
        "truncated": ("0.22", None, "74.5"),
        "snr_plus_one": (None, None, "70"),
        "bsa": ("0.54", None, "37.8"),
    },
}


def printed(value: float, like: str) -> str:
    return f"{value:.{len(like.partition('.')[2])}f}"


@pytest.mark.parametrize("steps", SHARES)
def test_shares_of_the_loss(steps):
    """What a weighting makes of a student's levels, to the printed digits."""
    grid = grids.progressive_grid(SCHEDULE, steps)
    snr = np.exp(grid.log_snr[1:])
    if steps == 25:
        assert (int((snr < 1).sum()), int((snr > 5).sum())) == (17, 3)
    for name, expected in SHARES[steps].items():
        weights = grids.loss_weights(grid, weightings.weighting(name), "x0")[1:]
        bands = weights[-1], weights[snr < 1].sum(), weights[snr > 5].sum()
        for share, digits in zip(bands, expected, strict=True):
            assert digits is None or printed(100 * share / weights.sum(), digits) == digits, name


def test_consistency_tta():
    """Its grid, and the first weight of its loss, min(SNR, 5) at the noisiest level."""
    grid = grids.uniform_grid(SCHEDULE)
    np.testing.assert_allclose((grid.sigma / grid.alpha)[::-1], CONSISTENCY_TTA, atol=5.1e-4)
    assert printed(grid.sigma[0] / grid.alpha[0], "0.0292") == "0.0292"
    np.testing.assert_allclose(grid.timesteps, np.arange(18) * 999 / 17, rtol=1e-14)
    weights = grids.loss_weights(grid, weightings.weighting("min_snr"), "x0")
    assert printed(weights[-1], "0.004682") == "0.004682"
    np.testing.assert_array_equal(weights[[0, 1, 2]], [0, 5, 5])
    assert 100 * weights[-1] / weights.sum() == pytest.approx(0.023, abs=5e-4)


def test_karras_grid():
    """Equal steps of sigma^(1/7) between the same ends, at timesteps whose levels are those."""
    grid, uniform = grids.karras_grid(SCHEDULE), grids.uniform_grid(SCHEDULE)
    edm_sigma = grid.sigma / grid.alpha
    np.testing.assert_allclose(np.diff(edm_sigma ** (1 / 7), n=2), 0, atol=1e-14)
    np.testing.assert_allclose(edm_sigma[[0, -1]], (uniform.sigma / uniform.alpha)[[0, -1]])
    np.testing.assert_array_equal(grid.timesteps[[0, -1]], [0, 999])
    known = np.interp(grid.timesteps, np.arange(1000), np.log(SCHEDULE.edm_sigma))
    np.testing.assert_allclose(known, np.log(edm_sigma), atol=1e-12)
    # Its points crowd at the clean end: 8 below timestep 300, of the uniform grid 6.
    assert [(laid.timesteps < 300).sum() for laid in (grid, uniform)] == [8, 6]


@pytest.mark.parametrize("schedule", [SCHEDULE, ZERO_TERMINAL, schedules.cosine()])
@pytest.mark.parametrize("pure_noise", [False, True])
def test_progressive_grid(schedule, pure_noise):
    """Index i is timestep 40 i - 1, clean before the first; the last is the schedule's or pure noise."""
    grid = grids.progressive_grid(schedule, 25, pure_noise=pure_noise)
    np.testing.assert_array_equal(grid.timesteps, np.arange(26) * 40 - 1)
    asked = np.arange(39, 999, 40)
    np.testing.assert_allclose(grid.alpha[1:-1], schedule.alpha[asked], rtol=1e-12)
    np.testing.assert_allclose(grid.sigma[1:-1], schedule.sigma[asked], rtol=1e-12)
    assert (grid.alpha[0], grid.sigma[0], grid.log_snr[0]) == (1, 0, np.inf)
    last = (0, 1) if pure_noise else (schedule.alpha[-1], schedule.sigma[-1])
    assert (grid.alpha[-1], grid.sigma[-1]) == last
    assert np.isneginf(grid.log_snr[-1]) == (pure_noise or schedule is ZERO_TERMINAL)
    assert grid.steps == 25


def test_fractional_timesteps():
    """Where steps do not divide the schedule sigma / alpha is linear between timesteps."""
    grid = grids.progressive_grid(SCHEDULE, 3)
    np.testing.assert_allclose(grid.timesteps, [-1, 332 + 1 / 3, 665 + 2 / 3, 999])
    known = SCHEDULE.edm_sigma
    expected = [known[332] * 2 / 3 + known[333] / 3, known[665] / 3 + known[666] * 2 / 3]
    np.testing.assert_allclose((grid.sigma / grid.alpha)[1:3], expected, rtol=1e-12)


@pytest.mark.parametrize("laid", ["progressive", "uniform", "karras"])
def test_training_and_sampling_read_one_definition(laid):
    rule = getattr(student_grid, laid)(ZERO_TERMINAL, 7)
    grid = getattr(grids, f"{laid}_grid")(ZERO_TERMINAL, 7)
    for ours, known in zip((grid.timesteps, grid.alpha, grid.sigma), rule, strict=True):
        np.testing.assert_array_equal(ours, known)
    np.testing.assert_allclose(grid.alpha**2 + grid.sigma**2, 1, rtol=1e-14)
    assert (np.diff(grid.alpha) < 0).all()
    assert (np.diff(grid.timesteps) > 0).all()


@pytest.mark.parametrize("double", [False, True])
def test_levels_of_a_traced_index(double):
    grid = grids.progressive_grid(SCHEDULE, 8)
    index = np.array([[3, 8], [0, 1]])
    with jax.enable_x64(double):
        dtype = jnp.float64 if double else jnp.float32
        level = jax.jit(lambda i: grid.at(i, dtype))(jnp.asarray(index))
        tables = (grid.timesteps, grid.alpha, grid.sigma)
        for ours, table in zip(level, tables, strict=True):
            assert ours.dtype == dtype
            np.testing.assert_array_equal(ours, table.astype(dtype)[index])
        assert grid.at(5).alpha.shape == ()


@pytest.mark.parametrize("name", weightings.WEIGHTINGS)
def test_a_denoiser_has_one_loss(name):
    """On every level of a grid, w_x |x0 error|^2 = w_eps |eps error|^2 = w_v |v error|^2."""
    grid = grids.progressive_grid(SCHEDULE, 50)
    alpha, sigma = grid.alpha[1:], grid.sigma[1:]
    x0, eps, wrong = np.random.RandomState(0).standard_normal((3, 50))
    wrong_eps = eps + alpha / sigma * (x0 - wrong)
    errors = {
        "x0": x0 - wrong,
        "eps": eps - wrong_eps,
        "v": alpha * (eps - wrong_eps) - sigma * (x0 - wrong),
    }
    made = weightings.weighting(name)
    losses = [grids.loss_weights(grid, made, p)[1:] * e**2 for p, e in errors.items()]
    np.testing.assert_allclose(losses[1:], [losses[0]] * 2, rtol=1e-10)
    np.testing.assert_allclose(losses[0], made(grid.log_snr[1:]) * errors["x0"] ** 2, rtol=1e-12)


def test_weights_at_zero_signal():
    """x0's stay, v's are x0's, eps has none."""
    grid = grids.progressive_grid(SCHEDULE, 10, pure_noise=True)
    for name in ("uniform", "truncated", "bsa", "snr_plus_one"):
        for prediction in ("x0", "v"):
            assert grids.loss_weights(grid, weightings.weighting(name), prediction)[-1] == 1
    with pytest.raises(ValueError, match=r"inf at level 10 of 10, .* -inf, where eps says nothing"):
        grids.check_weights(grid, weightings.weighting("uniform"), "eps")
    grids.check_weights(grids.progressive_grid(SCHEDULE, 10), weightings.weighting("snr"), "eps")


@pytest.mark.parametrize(
    ("weighting", "prediction", "message"),
    [
        (lambda x: x, "x0", "error of x0 with -5.36.* at level 10 of 10, whose log SNR is -5.36"),
        (lambda x: np.where(x > 1, np.nan, 1.0), "v", "with nan at level 2 of 10, .*finite"),
        (lambda x: 0 * x, "v", "with 0 at all 10 levels"),
        (lambda x: np.ones(3), "x0", "for each of 10 log SNRs, but it gave shape .3,."),
        (weightings.uniform, "score", "must be one of eps, x0, v, but got 'score'"),
    ],
)
def test_weightings_that_are_refused(weighting, prediction, message):
    grid = grids.progressive_grid(SCHEDULE, 10)
    with pytest.raises(ValueError, match=message):
        grids.check_weights(grid, weighting, prediction)


@pytest.mark.parametrize(
    ("laid", "size", "message"),
    [
        ("progressive", 0, "in 1 to 1000 steps, but got 0"),
        ("progressive", 1001, "in 1 to 1000 steps, but got 1001"),
        ("uniform", 1, "2 to 1000 points, but got 1"),
        ("karras", 1001, "2 to 1000 points, but got 1001"),
    ],
)
def test_grids_that_are_refused(laid, size, message):
    with pytest.raises(ValueError, match=message):
        getattr(grids, f"{laid}_grid")(SCHEDULE, size)
