"""The distance at infinitely many samples against fadtk's procedure and Gaussians whose distance is known."""

import numpy as np
import pytest

from ldm_jax.eval.metrics import gaussians
from ldm_jax.eval.metrics.estimate import Bootstrap
from ldm_jax.eval.metrics.extrapolation import FrechetExtrapolation
from ldm_jax.eval.metrics.frechet import FrechetDistance, frechet_distance
from ldm_jax.eval.metrics.state import State
from tests.eval.metrics.cases import apart, features

WIDTH = 16
DEVIATIONS = np.arange(1, WIDTH + 1) ** -0.5
SCALE, SHIFT = 1.3, 0.25
TRUE = WIDTH * SHIFT**2 + ((SCALE - 1) ** 2 * DEVIATIONS**2).sum()
REFERENCE = gaussians.Gaussian(mean=np.zeros(WIDTH), factor=np.diag(DEVIATIONS))


def generated(seed: int, rows: int) -> State:
    x = features(seed, rows, WIDTH, scale=SCALE, shift=SHIFT)
    return State(apart(x, x).generated, {})


def test_as_fadtk():
    """25 draws with `np.random.choice` after `np.random.seed`, and a line through them over 1 / n."""
    x, y = features(0, 700, 6, scale=1.2), features(1, 800, 6)
    rng = np.random.RandomState(7)
    sizes = [int(n) for n in np.linspace(500, 700, 25)]
    found = [float(frechet_distance(x[rng.choice(700, size=n, replace=True)], y)) for n in sizes]
    inverse = 1 / np.array(sizes)
    slope, intercept = np.polyfit(inverse, found, 1)
    misfit = found - (slope * inverse + intercept)
    r2 = 1 - (misfit**2).sum() / ((found - np.mean(found)) ** 2).sum()
    estimate = FrechetExtrapolation.fadtk(seed=7).compute(apart(x, y, rows=10))
    assert estimate.value == pytest.approx(intercept, rel=1e-9)
    assert estimate.details["slope"] == pytest.approx(slope, rel=1e-7)
    assert estimate.details["r2"] == pytest.approx(r2, abs=1e-9)
    assert estimate.details["all"] == pytest.approx(float(frechet_distance(x, y)), rel=1e-12)


def test_finds_the_distance_of_the_distributions():
    """Where all rows are 0.17 too far, the default is within a few hundredths, at 100 clips; fadtk's draws are not."""
    metrics = {
        "default": FrechetExtrapolation(reference=REFERENCE),
        "replaced": FrechetExtrapolation(reference=REFERENCE, replacement=True),
        "all": FrechetDistance(reference=REFERENCE),
    }
    states = [generated(seed, 100) for seed in range(50)]
    excess = {
        name: np.array([metric.compute(state).value for state in states]) - TRUE
        for name, metric in metrics.items()
    }
    error = excess["default"].std() / np.sqrt(len(states))
    assert error < 0.03
    assert abs(excess["default"].mean()) < 3 * error
    assert excess["all"].mean() > 5 * error
    assert excess["replaced"].mean() == pytest.approx(excess["all"].mean(), rel=0.3)


def test_interval_covers_the_distance_of_the_distributions():
    metric = FrechetExtrapolation(reference=REFERENCE, sizes=8, repeats=4)
    found = [
        metric.compute(generated(seed, 100), bootstrap=Bootstrap(draws=400)) for seed in range(100)
    ]
    covered = np.mean([estimate.low < TRUE < estimate.high for estimate in found])
    assert 0.88 <= covered <= 0.99
    widths = np.mean([estimate.high - estimate.low for estimate in found])
    spread = np.std([estimate.value for estimate in found])
    assert widths == pytest.approx(2 * 1.96 * spread, rel=0.2)


def test_both_sides_shrink():
    """With 60 rows on either side the excess of both goes."""
    metric = FrechetExtrapolation(shrink="both")
    found, everything = [], []
    for seed in range(40):
        x = features(2 * seed, 60, WIDTH, scale=SCALE, shift=SHIFT)
        state = apart(x, features(2 * seed + 1, 60, WIDTH))
        estimate = metric.compute(state)
        found.append(estimate.value)
        everything.append(estimate.details["all"])
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(everything) - TRUE > 0.4
    assert abs(np.mean(found) - TRUE) < 3 * error < 0.15


def test_clips_are_drawn_with_all_their_rows():
    """Of 10 equal rows a clip, as many distances as of one."""
    x = features(0, 40, WIDTH)
    metric = FrechetExtrapolation(reference=REFERENCE, ddof=0)
    once = metric.compute(State(apart(x, x).generated, {}))
    tenfold = apart(np.repeat(x, 10, axis=0), x, rows=10)
    estimate = metric.compute(State(tenfold.generated, {}))
    assert estimate.value == pytest.approx(once.value, rel=1e-9)
    assert estimate.details["slope"] == pytest.approx(once.details["slope"], rel=1e-8)


def test_too_few():
    with pytest.raises(ValueError, match="400 generated vectors; the line starts at 500"):
        FrechetExtrapolation.fadtk(reference=REFERENCE).compute(generated(0, 400))
    with pytest.raises(ValueError, match="2 generated clips; the line starts at 2"):
        FrechetExtrapolation(reference=REFERENCE).compute(generated(0, 2))
    with pytest.raises(ValueError, match="statistics cannot shrink"):
        FrechetExtrapolation(reference=REFERENCE, shrink="both").compute(generated(0, 9))
