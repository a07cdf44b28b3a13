"""How often intervals cover what they are to cover."""

import numpy as np
import pytest

from ldm_jax.eval.metrics.bootstrap import linear_interval, ratio_interval
from ldm_jax.eval.metrics.divergence import Divergence
from ldm_jax.eval.metrics.estimate import Bootstrap, Metric
from ldm_jax.eval.metrics.frechet import FrechetDistance, frechet_distance
from ldm_jax.eval.metrics.inception import InceptionScore
from ldm_jax.eval.metrics.kernel import KernelDistance
from ldm_jax.eval.metrics.means import ClipMean
from ldm_jax.eval.metrics.state import State
from tests.eval.metrics.cases import apart, features, paired

DRAWS = Bootstrap(draws=300)


def coverage(metric: Metric, states: list[State]) -> float:
    """How often the interval holds the mean of the figure over all states, which are samples of one size."""
    found = [metric.compute(state, bootstrap=DRAWS) for state in states]
    target = np.mean([estimate.value for estimate in found])
    return float(np.mean([estimate.low <= target <= estimate.high for estimate in found]))


def test_of_a_mean():
    rng = np.random.RandomState(0)
    covered = []
    for _ in range(400):
        low, high = ratio_interval(rng.randn(60) + 3, np.ones(60), DRAWS)
        covered.append(low <= 3 <= high)
    assert 0.91 <= np.mean(covered) <= 0.97


def test_width_of_a_mean_is_that_of_the_normal_approximation():
    values = np.random.RandomState(0).randn(500)
    low, high = ratio_interval(values, np.ones(500), Bootstrap(draws=20_000))
    error = values.std() / np.sqrt(500)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.02)
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.05 * error)
    again = linear_interval(
        values.mean(), [(values - values.mean()) / 500], Bootstrap(draws=20_000)
    )
    assert again == pytest.approx((low, high), rel=1e-9)  # a mean is its own first order


def test_rows_of_a_clip_are_drawn_together():
    """Twenty copies of a row tell no more than one: intervals over rows would be 4.5 times too narrow."""
    states = []
    for seed in range(200):
        x = features(seed, 30, 1, shift=1.0)
        states.append(State(paired(np.repeat(x, 20, axis=0), x, rows=20).generated, {}))
    assert 0.88 <= coverage(ClipMean(), states) <= 0.98


@pytest.mark.parametrize(
    ("rows", "others", "width", "scale", "least"),
    [
        (60, 80, 6, 1.5, 0.9),
        (40, 50, 64, 1.5, 0.9),  # fewer than the width
        (30, 200, 64, 1.5, 0.88),
        (60, 60, 6, 1.0, 0.9),  # one distribution: too wide, not too narrow
        (40, 40, 64, 1.0, 0.9),
    ],
)
def test_of_a_frechet_distance(rows, others, width, scale, least):
    states = [
        apart(
            features(2 * seed, rows, width, scale=scale, shift=0.1 * (scale > 1)),
            features(2 * seed + 1, others, width),
        )
        for seed in range(150)
    ]
    assert coverage(FrechetDistance(), states) >= least


def test_why_a_frechet_distance_is_not_redrawn():
    """Percentiles of distances of redrawn clips lie above the distance itself."""
    x, y = features(0, 100, 64, scale=1.5), features(1, 100, 64)
    rng = np.random.RandomState(0)
    redrawn = [
        frechet_distance(x[rng.randint(100, size=100)], y[rng.randint(100, size=100)])
        for _ in range(100)
    ]
    value = frechet_distance(x, y)
    assert np.percentile(redrawn, 2.5) > value
    estimate = FrechetDistance().compute(apart(x, y), bootstrap=DRAWS)
    assert estimate.low < value < estimate.high


def test_of_a_frechet_distance_of_clips_with_several_rows():
    states = []
    for seed in range(150):
        x, y = (
            np.repeat(features(2 * seed + side, 40, 4, scale=scale), 5, axis=0)
            + 0.1 * features(1000 + 2 * seed + side, 200, 4)
            for side, scale in ((0, 1.5), (1, 1.0))
        )
        states.append(apart(x, y, rows=5))
    assert 0.9 <= coverage(FrechetDistance(), states) <= 0.99


def test_of_pairs_that_resemble_each_other():
    """Clips with the reference's noise in them are redrawn with it: else the interval would be far too wide."""
    states = []
    for seed in range(150):
        y = features(2 * seed, 50, 4)
        states.append(paired(y * 1.5 + 0.05 * features(2 * seed + 1, 50, 4), y))
    together = coverage(FrechetDistance(), states)
    assert 0.85 <= together <= 0.99
    widths = []
    for form in (paired, apart):
        arrays = [
            np.concatenate(list(side.values()))
            for side in (states[0].generated, states[0].reference)
        ]
        estimate = FrechetDistance().compute(form(*arrays), bootstrap=DRAWS)
        widths.append(estimate.high - estimate.low)
    assert widths[0] < 0.5 * widths[1]


@pytest.mark.parametrize(
    ("metric", "paired_clips"),
    [
        (InceptionScore(splits=4), False),
        (KernelDistance(subset_size=None), False),
        (Divergence(), True),
    ],
    ids=["inception", "kernel", "divergence"],
)
def test_of_other_figures(metric, paired_clips):
    form = paired if paired_clips else apart
    states = [
        form(features(2 * seed, 80, 8, scale=3.0, shift=0.2), features(2 * seed + 1, 80, 8))
        for seed in range(200)
    ]
    assert 0.88 <= coverage(metric, states) <= 0.98


def test_one_clip_has_no_interval():
    assert ratio_interval(np.ones(1), np.ones(1), DRAWS) == (None, None)
    assert linear_interval(1.0, [np.zeros(1), np.zeros(0)], DRAWS) == (None, None)
    assert ratio_interval(np.ones(9), np.ones(9), None) == (None, None)


def test_blocks_of_draws_do_not_matter(monkeypatch):
    values = np.random.RandomState(0).randn(50)
    whole = ratio_interval(values, np.ones(50), DRAWS)
    monkeypatch.setattr("ldm_jax.eval.metrics.bootstrap._AT_ONCE", 50 * 7)
    assert ratio_interval(values, np.ones(50), DRAWS) == pytest.approx(whole, rel=1e-12)
    assert ratio_interval(values, np.ones(50), Bootstrap(draws=300, seed=1))[0] != pytest.approx(
        whole[0], rel=1e-3
    )
