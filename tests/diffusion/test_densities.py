"""Densities against integrals, peers' draws and each other; draws against the probabilities."""

import itertools

import jax
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from ldm_jax.diffusion import densities, schedules
from ldm_jax.diffusion.schedules import Schedule
from tests import cases_objective as cases
from tests import golden

SCHEDULE = schedules.scaled_linear()
ZERO_SNR = schedules.rescale_zero_terminal_snr(SCHEDULE)


def laplace(log_snr):
    return np.exp(-abs(log_snr - 0.3) / 0.7) / 1.4


def logit_normal(u):
    return np.exp(-((np.log(u / (1 - u)) + 0.4) ** 2) / 2 / 0.6**2) / (0.6 * u * (1 - u))


# (name, options, the density up to a factor), first over u = t / T, then over log SNR.
OVER_TIME = [
    ("uniform", {}, lambda u: 1.0),
    ("logit_normal", {"mean": -0.4, "std": 0.6}, logit_normal),
    # u = 3 u' / (1 + 2 u'), so u' = u / (3 - 2 u), whose derivative is:
    ("shifted", {}, lambda u: 3 / (3 - 2 * u) ** 2),
]
OVER_LOG_SNR = [
    ("edm", {}, lambda x: np.exp(-((-x / 2 + 1.2) ** 2) / 2 / 1.2**2)),
    ("edm", {"mean": -0.4, "std": 1.0}, lambda x: np.exp(-((-x / 2 + 0.4) ** 2) / 2)),
    ("laplace", {"mean": 0.3, "width": 0.7}, laplace),
    ("cosine", {"mean": 1.0}, lambda x: 1 / np.cosh((x - 1) / 2)),
]


def integrals(function, edges):
    pairs = itertools.pairwise(edges)
    return np.array([scipy.integrate.quad(function, low, high)[0] for low, high in pairs])


@pytest.mark.parametrize(("name", "options", "function"), OVER_TIME)
def test_integrals_over_time(name, options, function):
    ours = densities.probabilities(densities.density(name, **options), SCHEDULE)
    expected = integrals(function, np.linspace(0, 1, 1001))
    np.testing.assert_allclose(ours, expected / expected.sum(), rtol=1e-7, atol=1e-13)


@pytest.mark.parametrize(("name", "options", "function"), OVER_LOG_SNR)
@pytest.mark.parametrize("schedule", [SCHEDULE, ZERO_SNR], ids=["published", "zero SNR"])
def test_integrals_over_log_snr(name, options, function, schedule):
    ours = densities.probabilities(densities.density(name, **options), schedule)
    levels = schedule.log_snr[np.isfinite(schedule.log_snr)]
    edges = (levels[1:] + levels[:-1]) / 2
    edges = [1.5 * levels[0] - 0.5 * levels[1], *edges, 1.5 * levels[-1] - 0.5 * levels[-2]]
    expected = -integrals(function, edges)
    if schedule is ZERO_SNR:
        rest = scipy.integrate.quad(function, -200, edges[-1])[0]
        expected = np.append(expected, rest)
    np.testing.assert_allclose(ours, expected / expected.sum(), rtol=1e-6, atol=1e-13)


def test_cosine_is_uniform_on_the_cosine_schedule():
    """It is defined so; T midpoints of the continuous schedule."""
    u = (np.arange(500) + 0.5) / 500
    ours = densities.probabilities(densities.cosine, Schedule(np.cos(np.pi / 2 * u) ** 2))
    np.testing.assert_allclose(ours[10:-10] * 500, 1, atol=3e-3)
    np.testing.assert_allclose(ours.sum(), 1, rtol=1e-12)


def test_a_shift_moves_the_mean_of_logit_normal():
    """Stable Diffusion 3's shift s adds log s to log(u / (1 - u)): the same quantiles."""
    plain = np.cumsum(densities.logit_normal(SCHEDULE))
    moved = np.cumsum(densities.logit_normal(SCHEDULE, mean=np.log(3)))
    ends = np.arange(1, 1001) / 1000
    np.testing.assert_allclose(
        moved, np.interp(ends / (3 - 2 * ends), ends, plain, left=0), atol=1e-5
    )


@pytest.mark.parametrize("number", range(len(cases.LOGIT_NORMALS)))
def test_draws_of_diffusers_are_logit_normal(number):
    mean, std = cases.LOGIT_NORMALS[number]
    counts = golden.load("objective")[1][f"counts_{number}"]
    density = densities.density("logit_normal", mean=mean, std=std)
    expected = densities.probabilities(density, SCHEDULE).reshape(cases.BINS, -1).sum(1)
    assert scipy.stats.chisquare(counts, cases.DRAWS * expected).pvalue > 1e-3
    wrong = np.roll(expected, 1)  # one bin off would be seen
    assert scipy.stats.chisquare(counts, cases.DRAWS * wrong).pvalue < 1e-12


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize(
    "density", [densities.uniform, densities.laplace, densities.logit_normal, densities.edm]
)
def test_draws(density, stratified):
    """Many batches have the probabilities, whether or not each is spread evenly."""
    probabilities = densities.probabilities(density, SCHEDULE)
    keys = jax.random.split(jax.random.key(0), 1000)
    batches = np.asarray(
        jax.jit(
            jax.vmap(lambda key: densities.draw(key, probabilities, 64, stratified=stratified))
        )(keys)
    )
    bins = np.minimum((np.cumsum(probabilities) * 20).astype(int), 19)  # about equal parts
    expected = np.bincount(bins, weights=probabilities, minlength=20)
    counts = np.bincount(bins[batches.ravel()], minlength=20)
    excess = scipy.stats.chisquare(counts, 64_000 * expected)
    if not stratified:
        assert excess.pvalue > 1e-3
        return
    assert excess.statistic < 3  # far below the 19 of independent draws
    for row in (0, 31, 63):  # and no row of a batch is special
        counts = np.bincount(bins[batches[:, row]], minlength=20)
        assert scipy.stats.chisquare(counts, 1000 * expected).pvalue > 1e-3


def test_stratified_batches_hold_every_range_evenly():
    """Of 64 timesteps each range gets what it should on average, rounded up or down."""
    probabilities = densities.probabilities(densities.edm, SCHEDULE)
    cumulative = np.concatenate([[0], np.cumsum(probabilities)])
    for seed in range(20):
        drawn = densities.draw(jax.random.key(seed), probabilities, 64, stratified=True)
        below = np.searchsorted(np.sort(drawn), np.arange(1001), side="left")
        assert np.abs(below - 64 * cumulative).max() < 1 + 1e-3
    everyone = densities.draw(
        jax.random.key(3),
        densities.probabilities(densities.uniform, SCHEDULE),
        1000,
        stratified=True,
    )
    np.testing.assert_array_equal(np.sort(everyone), np.arange(1000))


def test_what_has_no_probability_is_never_drawn():
    amounts = np.zeros(1000)
    amounts[[0, 3, 998]] = 1, 2, 1
    drawn = densities.draw(
        jax.random.key(0), densities.probabilities(lambda schedule: amounts, SCHEDULE), 10_000
    )
    values, counts = np.unique(drawn, return_counts=True)
    np.testing.assert_array_equal(values, [0, 3, 998])
    np.testing.assert_allclose(counts / 10_000, [0.25, 0.5, 0.25], atol=0.02)


@pytest.mark.parametrize(
    ("amounts", "message"),
    [
        (np.ones(999), r"each of 1000 timesteps, but gave shape \(999,\)"),
        (-np.ones(1000), "gives -1 to -1"),
        (np.zeros(1000), "not only zeros; this one gives 0 to 0"),
        (np.full(1000, np.inf), "gives inf to inf"),
    ],
)
def test_what_is_refused(amounts, message):
    with pytest.raises(ValueError, match=message):
        densities.probabilities(lambda schedule: amounts, SCHEDULE)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("normal", {}, "The density must be one of uniform, logit_normal, .* but got 'normal'"),
        ("edm", {"mu": 0}, "The density 'edm' has only mean, std, but got mu=0"),
        ("edm", {"std": 0}, "The density 'edm' takes a std above 0, but got 0"),
        ("laplace", {"width": -1.0}, "'laplace' takes a width above 0, but got -1"),
        ("shifted", {"shift": 0.0}, "'shifted' takes a shift above 0"),
    ],
)
def test_bad_names_and_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        densities.density(name, **options)


def test_a_schedule_of_one_level():
    with pytest.raises(
        ValueError, match="at least two timesteps of finite log SNR, but this one has 1"
    ):
        densities.edm(Schedule(np.array([0.5])))
