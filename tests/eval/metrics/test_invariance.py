"""What holds of every metric: the order of arrival and the way clips were divided change no bit; bad input is named."""

import dataclasses
import functools

import numpy as np
import pytest

from ldm_jax.eval.metrics.cosine import CosineScore, Retrieval
from ldm_jax.eval.metrics.divergence import Divergence
from ldm_jax.eval.metrics.estimate import Bootstrap, Metric
from ldm_jax.eval.metrics.extrapolation import FrechetExtrapolation
from ldm_jax.eval.metrics.frechet import FrechetDistance
from ldm_jax.eval.metrics.inception import InceptionScore
from ldm_jax.eval.metrics.kernel import KernelDistance
from ldm_jax.eval.metrics.means import ClipMean
from ldm_jax.eval.metrics.state import State
from ldm_jax.eval.metrics.words import ErrorRate
from tests.eval.metrics.cases import features

METRICS = {
    "frechet": FrechetDistance(),
    "extrapolation": FrechetExtrapolation(sizes=4),
    "kernel": KernelDistance(subsets=5, subset_size=20),
    "inception": InceptionScore(splits=4),
    "divergence": Divergence(),
    "cosine": CosineScore(),
    "retrieval": Retrieval(k=8),
    "mean": ClipMean(),
    "words": ErrorRate(),
}
PAIRED = ("divergence", "cosine", "retrieval")
ONE_SIDED = ("inception", "mean", "words")
WIDTHS = {"mean": 1, "words": 4}


def state(metric: str, *, clips: int = 24) -> State:
    """Clips of one to three float32 rows; two of them on one side only."""
    width = WIDTHS.get(metric, 7)
    generated, reference = (
        {
            f"clip {i}": np.abs(features(100 * side + i, 1 + i % 3, width)).astype(np.float32)
            for i in range(first, clips + first)
        }
        for side, first in ((0, 0), (1, 1))
    )
    return State(generated, {} if metric in ONE_SIDED else reference)


def parted(whole: State, parts: int, seed: int) -> list[State]:
    """Whole, dealt out at random."""
    rng = np.random.RandomState(seed)
    hands = [State({}, {}) for _ in range(parts)]
    for side in ("generated", "reference"):
        rows = list(getattr(whole, side).items())
        dealt = [{} for _ in range(parts)]
        for i in rng.permutation(len(rows)):
            dealt[rng.randint(parts)][rows[i][0]] = rows[i][1]
        hands = [dataclasses.replace(h, **{side: d}) for h, d in zip(hands, dealt, strict=True)]
    return hands


@pytest.mark.parametrize("name", METRICS)
def test_neither_order_nor_division_matters(name):
    metric, whole = METRICS[name], state(name)
    expected = metric.compute(whole, bootstrap=Bootstrap(draws=50))
    for parts in (1, 2, 7):
        merged = functools.reduce(State.merge, parted(whole, parts, seed=parts), State.empty())
        assert metric.compute(merged, bootstrap=Bootstrap(draws=50)) == expected  # to the bit


@pytest.mark.parametrize("name", METRICS)
def test_rounding_of_features_to_float32_is_all_that_float32_costs(name):
    metric, single = METRICS[name], state(name)
    double = State(
        *(
            {clip: rows.astype(np.float64) for clip, rows in side.items()}
            for side in (single.generated, single.reference)
        )
    )
    assert metric.compute(single).value == metric.compute(double).value
    assert isinstance(metric, Metric)


@pytest.mark.parametrize("name", METRICS)
def test_the_interval_is_the_seed_s(name):
    metric, whole = METRICS[name], state(name)
    found = [metric.compute(whole, bootstrap=Bootstrap(draws=40, seed=seed)) for seed in (0, 0, 1)]
    assert found[0] == found[1]
    assert (found[0].low, found[0].high) != (found[2].low, found[2].high)
    assert found[0].value == found[2].value == metric.compute(whole).value
    assert metric.compute(whole).low is None


@pytest.mark.parametrize("name", METRICS)
def test_no_clip(name):
    message = (
        "have a name in common" if name in PAIRED else "generated: 0 feature vectors of 0 clips"
    )
    with pytest.raises(ValueError, match=message):
        METRICS[name].compute(State.empty())


@pytest.mark.parametrize("name", ["frechet", "extrapolation", "kernel", "inception"])
def test_one_vector(name):
    whole = state(name, clips=1)
    with pytest.raises(
        ValueError, match="generated: 1 feature vectors of 1 clips; this metric takes 2"
    ):
        METRICS[name].compute(whole)


@pytest.mark.parametrize("name", PAIRED)
def test_no_common_name(name):
    whole = state(name)
    apart = State(whole.generated, {f"other {k}": rows for k, rows in whole.reference.items()})
    with pytest.raises(ValueError, match="none of 24 generated and 24 reference clips"):
        METRICS[name].compute(apart)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite(name, bad):
    whole = state(name)
    for side in ("generated", "reference"):
        if rows := getattr(whole, side):
            broken = rows["clip 5"].copy()
            broken[-1, 0] = bad
            damaged = dataclasses.replace(whole, **{side: {**rows, "clip 5": broken}})
            with pytest.raises(
                ValueError, match=f"{side} clip 'clip 5': features that are not finite"
            ):
                METRICS[name].compute(damaged)


@pytest.mark.parametrize("name", [name for name in METRICS if name not in WIDTHS])
def test_features_of_different_width(name):
    whole = state(name)
    odd = State({**whole.generated, "clip 5": np.ones((2, 3), np.float32)}, whole.reference)
    with pytest.raises(ValueError, match="'clip 5': features of width 3, but 7 in clip 'clip"):
        METRICS[name].compute(odd)
    if whole.reference:
        narrower = {clip: rows[:, :3] for clip, rows in whole.reference.items()}
        with pytest.raises(ValueError, match=r"width 7 \(generated\) and 3 \(reference\)"):
            METRICS[name].compute(State(whole.generated, narrower))


def test_a_clip_twice():
    whole = state("frechet")
    with pytest.raises(ValueError, match="clip 'clip 0' is in both states"):
        whole.merge(whole)
