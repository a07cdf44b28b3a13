"""Intervals and paired tests against SciPy, and what they promise against synthetic seeds."""

import numpy as np
import pytest
import scipy.stats

from ldm_jax.study.statistics import differences, interval

SEEDS = 5


def test_against_scipy():
    random = np.random.RandomState(0)
    values = {name: random.standard_normal(SEEDS) for name in ("bsa", "snr", "edm")}
    mean, low, high = interval(values["snr"])
    theirs = scipy.stats.ttest_1samp(values["snr"], 0).confidence_interval(0.95)
    np.testing.assert_allclose((mean, low, high), (values["snr"].mean(), *theirs), rtol=1e-12)
    found = differences(values, "bsa")
    assert list(found) == ["snr", "edm"]
    p = {}
    for name, one in found.items():
        test = scipy.stats.ttest_rel(values[name], values["bsa"])
        p[name] = test.pvalue
        np.testing.assert_allclose((one.low, one.high), test.confidence_interval(0.95), rtol=1e-12)
    small, large = sorted(p, key=p.__getitem__)
    np.testing.assert_allclose(found[small].p, min(1, 2 * p[small]), rtol=1e-12)  # Holm's
    np.testing.assert_allclose(found[large].p, max(2 * p[small], p[large]), rtol=1e-12)


def test_intervals_cover():
    """Of 2000 sets of seeds, 95 % and not more by 2 % or less, which is four deviations."""
    draws = np.random.RandomState(1).standard_normal((2000, SEEDS)) + 3
    covered = np.mean([low <= 3 <= high for _, low, high in map(interval, draws)])
    assert abs(covered - 0.95) < 0.02


def test_what_seeds_share_cancels():
    """Seeds that differ a lot among themselves, and weightings that differ little at each."""
    random = np.random.RandomState(2)
    wrong, found, covered = 0, 0, 0
    for _ in range(300):
        shared = 10 * random.standard_normal(SEEDS)
        values = {
            name: shared + shift + 0.1 * random.standard_normal(SEEDS)
            for name, shift in (("bsa", 0.0), ("same", 0.0), ("other", 0.8))
        }
        told = differences(values, "bsa")
        wrong += told["same"].certain
        found += told["other"].certain
        covered += told["other"].low <= 0.8 <= told["other"].high
    assert wrong / 300 < 0.09
    assert found / 300 > 0.95
    assert abs(covered / 300 - 0.95) < 0.05


def test_many_comparisons_of_nothing_find_nothing():
    """Of 14 weightings none of which differs, one or more are said to at most in 5 % of the studies."""
    random = np.random.RandomState(3)
    said = 0
    for _ in range(200):
        values = {str(i): random.standard_normal(SEEDS) for i in range(15)}
        said += any(one.certain for one in differences(values, "0").values())
    assert said / 200 < 0.1


def test_clips_are_what_varies():
    """Of rows, a seed each, the clips' means over seeds are tested, and the seeds have to agree."""
    random = np.random.RandomState(4)
    bsa = random.standard_normal((2, 30))
    lower = bsa - 0.5 + 0.3 * random.standard_normal((2, 30))
    values = {"bsa": bsa, "lower": lower, "either": lower + np.array([[0.8], [-0.8]])}
    assert interval(bsa) == interval(bsa.mean(axis=0))
    found = differences(values, "bsa")
    test = scipy.stats.ttest_rel(lower.mean(axis=0), bsa.mean(axis=0))
    bounds = test.confidence_interval(0.95)
    np.testing.assert_allclose((found["lower"].low, found["lower"].high), bounds, rtol=1e-12)
    np.testing.assert_allclose([one.p for one in found.values()], 2 * test.pvalue, rtol=1e-12)
    assert found["lower"].certain
    assert (found["either"].agreed, found["either"].certain) == (False, False)


def test_without_spread():
    values = {"bsa": np.arange(3.0), "same": np.arange(3.0), "shifted": np.arange(3.0) + 1}
    found = differences(values, "bsa")
    assert (found["same"].p, found["same"].mean, found["same"].certain) == (1.0, 0.0, False)
    assert (found["shifted"].p, found["shifted"].low, found["shifted"].certain) == (0.0, 1.0, True)
    assert differences({"bsa": np.arange(3.0)}, "bsa") == {}
    with pytest.raises(KeyError):
        differences(values, "none")
