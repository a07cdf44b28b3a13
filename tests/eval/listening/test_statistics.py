import numpy as np
import pytest
import scipy.stats

from ldm_jax.eval.listening.agreement import krippendorff_alpha
from ldm_jax.eval.listening.statistics import (
    clustered_draws,
    holm,
    paired_test,
    percentiles,
    t_interval,
    z_scores,
)

NAN = np.nan


def test_alpha_of_krippendorffs_own_example():
    """Four observers, twelve units, missing data: Computing Krippendorff's Alpha-Reliability (2011), section E."""
    ratings = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
            [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
        ]
    )
    assert krippendorff_alpha(ratings, "nominal") == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(ratings, "ordinal") == pytest.approx(0.815, abs=5e-4)
    assert krippendorff_alpha(ratings, "interval") == pytest.approx(0.849, abs=5e-4)


def test_alpha_of_another_program():
    """krippendorff 0.8 on the same array of 0 to 100."""
    generator = np.random.default_rng(1)
    ratings = generator.integers(0, 101, (6, 30)).astype(float)
    ratings[generator.random((6, 30)) < 0.4] = NAN
    assert krippendorff_alpha(ratings, "nominal") == pytest.approx(
        -0.0021850512356842433, abs=1e-12
    )
    assert krippendorff_alpha(ratings, "ordinal") == pytest.approx(0.028386501457811963, abs=1e-12)
    assert krippendorff_alpha(ratings, "interval") == pytest.approx(0.023095194029754906, abs=1e-12)


def test_alpha_at_its_ends():
    same = np.tile(np.arange(5.0), (3, 1))
    assert krippendorff_alpha(same, "ordinal") == 1
    assert krippendorff_alpha(np.array([[1.0, 5.0], [5.0, 1.0]]), "interval") == pytest.approx(-0.5)
    assert np.isnan(krippendorff_alpha(np.full((3, 4), 2.0), "interval"))
    assert np.isnan(krippendorff_alpha(np.array([[1.0, NAN], [NAN, 2.0]]), "interval"))


def test_t_interval_is_scipys():
    values = np.array([1.0, 4, 4, 5, 2, 3])
    mean, low, high = t_interval(values)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((values.mean(), expected.low, expected.high))
    assert np.isnan(t_interval(values[:1])[1])


def test_bootstrap_varies_with_raters_and_items():
    """Of x = r + i with a rater's and an item's part, the mean has variance s_r^2 / R + s_i^2 / I."""
    generator = np.random.default_rng(0)
    raters, items = generator.normal(0, 1, 40), generator.normal(0, 0.5, 60)
    ratings = np.stack([raters[:, None] + items, raters[:, None] + items + 0.3], axis=2)
    means = clustered_draws(ratings, draws=4000, seed=1)
    expected = np.sqrt(raters.var() / 40 + items.var() / 60)
    assert means[:, 0].std() == pytest.approx(expected, rel=0.05)
    assert means.mean(axis=0) == pytest.approx(
        ratings.mean(axis=(0, 1)), abs=4 * expected / np.sqrt(4000)
    )
    assert np.ptp(means[:, 1] - means[:, 0]) < 1e-12  # systems share the draws
    low, high = percentiles(means[:, 0])
    assert high - low == pytest.approx(2 * 1.96 * expected, rel=0.07)


def test_bootstrap_counts_only_what_was_rated():
    ratings = np.full((4, 3, 2), NAN)
    ratings[:, 0, 0] = 2.0
    means = clustered_draws(ratings, draws=300, seed=0)
    assert set(means[~np.isnan(means[:, 0]), 0]) == {2.0}
    assert np.isnan(means[:, 1]).all()
    assert 0.1 < np.isnan(means[:, 0]).mean() < 0.5  # (2/3)^3 of the draws do not have the item
    assert percentiles(means[:, 0]) == (2.0, 2.0)
    assert np.isnan(percentiles(means[:, 1])).all()


def test_wilcoxon_is_scipys():
    generator = np.random.default_rng(3)
    for size in (5, 12, 40):
        first = generator.normal(size=size)
        second = first + generator.normal(0.4, 1, size=size)
        expected = scipy.stats.wilcoxon(first, second, method="exact")
        found = paired_test(first, second)
        assert found.pairs == size
        assert found.p == pytest.approx(expected.pvalue)
        ranks = scipy.stats.rankdata(abs(first - second))
        plus = ranks[first > second].sum()
        assert found.effect == pytest.approx((2 * plus - ranks.sum()) / ranks.sum())


def test_wilcoxon_with_ties_zeros_and_gaps():
    first = np.array([3.0, 3, 4, 5, 2, NAN, 1])
    second = np.array([2.0, 2, 4, 3, 1, 1, NAN])
    found = paired_test(first, second)
    assert found == (
        5,
        2 / 16,
        1.0,
    )  # four differences, all positive: two of sixteen signs are as extreme
    assert paired_test(second, second) == (6, 1.0, 0.0)
    many = np.tile([1.0, 2, 3, 3], 10)
    assert paired_test(many + np.tile([1.0, 1, -1, 2], 10), many).p == pytest.approx(
        scipy.stats.wilcoxon(np.tile([1.0, 1, -1, 2], 10)).pvalue
    )


def test_holm():
    """The example of R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")."""
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.6, 0.5])), [1, 1])


def test_z_scores():
    ratings = np.array([[[1.0, 2], [3, NAN]], [[4, 4], [4, 4]], [[NAN, NAN], [NAN, NAN]]])
    found = z_scores(ratings)
    np.testing.assert_allclose(found[0], [[-1, 0], [1, NAN]])
    np.testing.assert_array_equal(found[1], np.zeros((2, 2)))
    assert np.isnan(found[2]).all()
