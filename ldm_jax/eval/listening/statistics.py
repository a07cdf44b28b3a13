"""Means, intervals and paired tests for ratings of raters x items x systems."""

import itertools
from typing import Any, NamedTuple, cast

import numpy as np
import scipy.stats
from jaxtyping import Float

EXACT_PAIRS = 13  # up to so many all 2^n signs are tried, which ties do not disturb


class Paired(NamedTuple):
    """A Wilcoxon signed-rank test.

    Attributes:
        pairs: that were compared, those without difference included.
        p: two-sided.
        effect: matched-pairs rank-biserial correlation, (W+ - W-) / (W+ + W-): 1 where all differences are positive.
    """

    pairs: int
    p: float
    effect: float


def t_interval(values: Float[np.ndarray, " n"]) -> tuple[float, float, float]:
    """(mean, low, high): mean -+ t_{0.975, n-1} s / sqrt(n), as if all ratings were independent; nan below two."""
    mean = float(values.mean())
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return mean, float(mean - half), float(mean + half)


def clustered_draws(
    ratings: Float[np.ndarray, "raters items systems"], *, draws: int, seed: int
) -> Float[np.ndarray, "draws systems"]:
    """Means by system of bootstrap samples in which raters and items are both drawn with replacement.

    A rating counts as often as its rater times as often as its item (the pigeonhole bootstrap: A. Owen, Annals of
    Applied Statistics 1, 2007): the intervals hold for other raters and other captions, and are a little too wide.
    Systems share the draws, so that differences can be taken. nan where a draw has no rating of a system.
    """
    raters, items, systems = ratings.shape
    generator = np.random.default_rng(seed)
    of_rater = generator.multinomial(raters, np.full(raters, 1 / raters), draws).astype(float)
    of_item = generator.multinomial(items, np.full(items, 1 / items), draws).astype(float)
    there = ~np.isnan(ratings)
    flat = np.where(there, ratings, 0.0).reshape(raters, -1)
    sums = (of_rater @ flat).reshape(draws, items, systems)
    counts = (of_rater @ there.reshape(raters, -1)).reshape(draws, items, systems)
    sums, counts = (np.einsum("dis,di->ds", each, of_item) for each in (sums, counts))
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def percentiles(draws: Float[np.ndarray, " draws"]) -> tuple[float, float]:
    """(2.5 %, 97.5 %) of those that are not nan."""
    known = draws[~np.isnan(draws)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, (2.5, 97.5))
    return float(low), float(high)


def paired_test(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> Paired:
    """Wilcoxon's test of first - second, over pairs that both are known of; pairs without difference do not count."""
    known = ~(np.isnan(first) | np.isnan(second))
    difference = np.round(first[known] - second[known], 9)  # 1/3 + 2/3 is to tie with 1
    moved = difference[difference != 0]
    if not len(moved):
        return Paired(len(difference), 1.0, 0.0)
    ranks = scipy.stats.rankdata(np.abs(moved))
    effect = float((ranks * np.sign(moved)).sum() / ranks.sum())
    if len(moved) <= EXACT_PAIRS:
        signs = np.array(list(itertools.product((-1, 1), repeat=len(moved))))
        extreme = np.abs(signs @ ranks) >= np.abs((ranks * np.sign(moved)).sum()) - 1e-9
        return Paired(len(difference), float(extreme.mean()), effect)
    p = cast(Any, scipy.stats.wilcoxon(moved)).pvalue
    return Paired(len(difference), float(p), effect)


def holm(p: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Holm's adjustment: the i-th smallest of n becomes the largest of (n - j) p_j for j <= i, at most 1; from 0."""
    order = np.argsort(p)
    adjusted = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    out = np.empty_like(p)
    out[order] = np.minimum(adjusted, 1.0)
    return out


def z_scores(
    ratings: Float[np.ndarray, "raters items systems"],
) -> Float[np.ndarray, "raters items systems"]:
    """(x - m) / s with each rater's own mean and deviation (n - 1); 0 where a rater always says the same."""
    out = np.full_like(ratings, np.nan)
    for rater, theirs in enumerate(ratings):
        known = ~np.isnan(theirs)
        if not known.any():
            continue
        centred = theirs[known] - theirs[known].mean()
        spread = centred.std(ddof=1) if known.sum() > 1 else 0.0
        out[rater][known] = centred / spread if spread > 1e-9 else 0.0
    return out
