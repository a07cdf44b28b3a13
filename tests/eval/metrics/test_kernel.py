"""KID against audioldm_eval's figure, a sum over pairs, and its expectation."""

import numpy as np
import pytest

from ldm_jax.eval.metrics.kernel import KernelDistance
from tests.eval.metrics.cases import apart, features, published


def by_pairs(x: np.ndarray, y: np.ndarray) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (a @ b / len(a) + 1) ** 3

    m, n = len(x), len(y)
    xx = sum(kernel(x[i], x[j]) for i in range(m) for j in range(m) if i != j)
    yy = sum(kernel(y[i], y[j]) for i in range(n) for j in range(n) if i != j)
    xy = sum(kernel(a, b) for a in x for b in y)
    return xx / (m * (m - 1)) + yy / (n * (n - 1)) - 2 * xy / (m * n)


def test_of_published_tool():
    arrays = published()
    state = apart(arrays["generated_features"], arrays["reference_features"])
    estimate = KernelDistance().compute(state)
    assert estimate.value == pytest.approx(0.1258271742, rel=1e-6)  # there in float32
    assert estimate.details == {"std": 0, "subset_size": 100}


def test_subsets_are_the_published_tools():
    """torch-fidelity's draws: `RandomState(2020).choice` for one side, then for the other, and so on."""
    x, y = features(0, 14, 5), features(1, 11, 5, scale=1.2)
    rng, expected = np.random.RandomState(2020), []
    for _ in range(6):
        a, b = rng.choice(14, 8, replace=False), rng.choice(11, 8, replace=False)
        expected.append(by_pairs(x[a], y[b]))
    estimate = KernelDistance(subsets=6, subset_size=8).compute(apart(x, y))
    assert estimate.value == pytest.approx(np.mean(expected), rel=1e-10)
    assert estimate.details["std"] == pytest.approx(np.std(expected), rel=1e-10)


def test_subset_size_of_none_is_the_smaller_side():
    x, y = features(0, 9, 5), features(1, 7, 5)
    estimate = KernelDistance(subset_size=None, subsets=3).compute(apart(x, y))
    assert estimate.details["subset_size"] == 7


def test_is_unbiased():
    """The mean over samples of 10 is the distance of the distributions: under (x y)^1 + 0 that of the means."""
    metric = KernelDistance(degree=1, coef0=0.0, gamma=1.0)
    shift = 0.5
    found = [
        metric.compute(apart(features(2 * i, 10, 3), features(2 * i + 1, 10, 3, shift=shift))).value
        for i in range(400)
    ]
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx(3 * shift**2, abs=3 * error)
    assert error < 0.05
    assert min(found) < 0  # unbiased, so not bounded by 0


def test_a_subset_of_one():
    with pytest.raises(ValueError, match="subset_size is 1; it has to be 2 or more"):
        KernelDistance(subset_size=1).compute(apart(features(0, 4, 3), features(1, 4, 3)))
