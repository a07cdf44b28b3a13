"""95 % intervals over clips.

A clip is drawn with all its rows. Clips come sorted by name and draws from a seed, so an interval depends on neither
the order of arrival nor the number of processes.

**Of means and rates** the interval is the percentile bootstrap: the figure is computed again from each draw.

**Of a Fréchet distance, an inception score or a kernel distance** that would mislead. What they are on average depends
on the number of different clips, of which a draw has 63 %: redrawn clips are farther away, and the interval lies above
the figure (by 28 % of it for two sets of 1000 clips of width 2048). Here they are redrawn to first order:

    figure + sum_i (w_i - 1) d_i,    w_i: how often clip i was drawn,    d_i: d figure / d w_i at w = 1,

the bootstrap of the infinitesimal jackknife (Efron, "The jackknife, the bootstrap and other resampling plans", 1982,
chapter 6). It has no such bias, takes one evaluation, and says between which numbers the same evaluation lies, done
with other clips, **as many of them**. That is what a comparison of systems at equal numbers takes. It is no interval
of the distance at infinitely many clips; for an estimate of that see `extrapolation`.

Of Fréchet distances of Gaussians it covers 93 to 99 %, also with fewer clips than dimensions, and most where both sides
have one distribution and the first order vanishes; of inception scores and kernel distances of 80 clips, to which few
clips contribute much, about 90 %.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from ldm_jax.eval.metrics.estimate import Bootstrap

_AT_ONCE = 4_000_000  # draws times clips
_PERCENTILES = (2.5, 97.5)

Interval = tuple[float, float] | tuple[None, None]


def ratio_interval(
    numerators: Float[np.ndarray, " clips"],
    denominators: Float[np.ndarray, " clips"],
    bootstrap: Bootstrap | None,
) -> Interval:
    """Of sum(numerators) / sum(denominators), such as a mean over rows or a rate; (None, None) of one clip.

    Draws whose denominators are all 0 are left out.
    """
    if bootstrap is None or len(numerators) < 2:
        return None, None
    rng = np.random.default_rng(bootstrap.seed)
    sums = np.concatenate(
        [
            counts @ np.stack([numerators, denominators], axis=1)
            for counts in _resamples(len(numerators), bootstrap.draws, rng)
        ]
    )
    sums = sums[sums[:, 1] > 0]
    return _interval(sums[:, 0] / sums[:, 1])


def mean_interval(values: Float[np.ndarray, " clips"], bootstrap: Bootstrap | None) -> Interval:
    """Of the mean of one number a clip; (None, None) of one clip."""
    return ratio_interval(values, np.ones(len(values)), bootstrap)


def linear_interval(
    value: float, derivatives: Sequence[Float[np.ndarray, " _"]], bootstrap: Bootstrap | None
) -> Interval:
    """Of a figure by its derivatives d_i, as above.

    Args:
        value: the figure.
        derivatives: of each group of clips that is drawn apart from the others.
        bootstrap: how many draws.

    Returns:
        (None, None) if there are no two clips in any group.
    """
    groups = [group for group in derivatives if len(group) > 1]
    if bootstrap is None or not groups:
        return None, None
    rng = np.random.default_rng(bootstrap.seed)
    shifts = np.zeros(bootstrap.draws)
    for group in groups:
        drawn = [counts @ group for counts in _resamples(len(group), bootstrap.draws, rng)]
        shifts += np.concatenate(drawn) - group.sum()
    return _interval(value + shifts)


def by_clip(
    generated: dict[str, float], reference: dict[str, float]
) -> list[Float[np.ndarray, " _"]]:
    """The groups of `linear_interval`: clips that are on both sides by name, drawn together, and those of either side.

    Args:
        generated: derivative by name.
        reference: likewise; {} where the reference is fixed.
    """
    both = sorted(generated.keys() & reference.keys())
    return [
        np.array([generated[name] + reference[name] for name in both]),
        np.array([generated[name] for name in sorted(generated.keys() - reference.keys())]),
        np.array([reference[name] for name in sorted(reference.keys() - generated.keys())]),
    ]


def _resamples(
    clips: int, draws: int, rng: np.random.Generator
) -> Iterator[Int[np.ndarray, "draws clips"]]:
    """How often each clip is in each draw, some draws at a time."""
    block = max(1, _AT_ONCE // clips)
    for start in range(0, draws, block):
        yield rng.multinomial(clips, np.full(clips, 1 / clips), size=min(block, draws - start))


def _interval(drawn: Float[np.ndarray, " draws"]) -> tuple[float, float]:
    low, high = np.percentile(drawn, _PERCENTILES)
    return float(low), float(high)
