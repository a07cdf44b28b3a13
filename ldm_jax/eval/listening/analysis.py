"""From results to what is known of the systems."""

import collections
import itertools
import math
from collections.abc import Sequence

import numpy as np

from ldm_jax.eval.listening.agreement import krippendorff_alpha
from ldm_jax.eval.listening.key import Key
from ldm_jax.eval.listening.outcome import (
    Agreement,
    Analysis,
    Comparison,
    Rater,
    Rules,
    Score,
)
from ldm_jax.eval.listening.results import Result
from ldm_jax.eval.listening.statistics import (
    clustered_draws,
    holm,
    paired_test,
    percentiles,
    t_interval,
    z_scores,
)

MAX_FAILED = 0.25  # of the checks: with one of each kind, one may be failed


def analyse(read: tuple[Sequence[Result], Sequence[str]], key: Key, rules: Rules) -> Analysis:
    """Leaves out whom the rules leave out, and computes the rest.

    Args:
        read: what `read_results` gives.
        key: of the test.
        rules: what counts.

    Raises:
        ValueError: no rater is left.
    """
    results, problems = read
    raters = tuple(_rater(one, rules) for one in results)
    used = [one for one, rater in zip(results, raters, strict=True) if not rater.why_not]
    if not used:
        told = "; ".join(f"{rater.name} {rater.why_not}" for rater in raters[:3])
        raise ValueError(f"no rater's ratings count: {told}")
    systems = _systems(used, key)
    scores: list[Score] = []
    comparisons: list[Comparison] = []
    agreement: list[Agreement] = []
    for question in key.questions:
        ratings = _dense(used, question, systems)
        if not np.isnan(ratings).all():
            agreement.append(_agreement(ratings, question))
            ratings = z_scores(ratings) if rules.normalise else ratings
            means = clustered_draws(ratings, draws=rules.draws, seed=rules.seed)
            scores += _scores(ratings, means, question, systems)
            comparisons += _comparisons(ratings, means, question, systems)
    return Analysis(
        test=key.test,
        title=key.title,
        scale=key.scale,
        rules=rules,
        raters=raters,
        problems=tuple(problems),
        scores=tuple(scores),
        comparisons=tuple(comparisons),
        agreement=tuple(agreement),
    )


def _rater(one: Result, rules: Rules) -> Rater:
    failed = tuple(kind for kind, good in one.checks if not good)
    limit = next(each for each in (rules.max_failed, one.limit, MAX_FAILED) if each is not None)
    why = ""
    if one.checks and len(failed) / len(one.checks) > limit:
        kinds = collections.Counter(failed)
        told = ", ".join(f"{kind} {n} times" if n > 1 else kind for kind, n in kinds.items())
        why = f"failed {len(failed)} of {len(one.checks)} checks ({told})"
    elif one.rated < one.trials and not rules.partial:
        why = f"rated {one.rated} of {one.trials} clips (--partial counts them)"
    elif not one.ratings:
        why = "rated no clip"
    return Rater(
        name=one.rater,
        source=one.source,
        why_not=why,
        rated=one.rated,
        trials=one.trials,
        failed=failed,
        checks=len(one.checks),
        minutes=one.minutes,
        device=one.device,
        comment=one.comment,
    )


def _systems(used: Sequence[Result], key: Key) -> tuple[str, ...]:
    """Those of the key, then what webMUSHRA adds: the reference and its anchors."""
    there = {rating.system for one in used for rating in one.ratings}
    return (
        *(name for name in key.systems if name in there),
        *sorted(there - set(key.systems)),
    )


def _dense(used: Sequence[Result], question: str, systems: Sequence[str]) -> np.ndarray:
    """Raters x items x systems; nan where nothing was rated, a mean where something was rated twice."""
    wanted = [
        (rater, rating)
        for rater, one in enumerate(used)
        for rating in one.ratings
        if rating.question == question
    ]
    items = {name: i for i, name in enumerate(sorted({rating.item for _, rating in wanted}))}
    places = {name: i for i, name in enumerate(systems)}
    total = np.zeros((len(used), len(items), len(systems)))
    count = np.zeros_like(total)
    for rater, rating in wanted:
        place = rater, items[rating.item], places[rating.system]
        total[place] += rating.value
        count[place] += 1
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def _scores(
    ratings: np.ndarray, means: np.ndarray, question: str, systems: Sequence[str]
) -> list[Score]:
    scores = []
    for index, system in enumerate(systems):
        there = ~np.isnan(ratings[:, :, index])
        if not there.any():
            continue
        values = ratings[:, :, index][there]
        mean, t_low, t_high = t_interval(values)
        low, high = percentiles(means[:, index])
        scores.append(
            Score(
                question=question,
                system=system,
                mean=mean,
                t_low=t_low,
                t_high=t_high,
                low=low,
                high=high,
                deviation=float(values.std(ddof=1)) if len(values) > 1 else math.nan,
                ratings=len(values),
                raters=int(there.any(axis=1).sum()),
                items=int(there.any(axis=0).sum()),
            )
        )
    return scores


def _comparisons(
    ratings: np.ndarray, means: np.ndarray, question: str, systems: Sequence[str]
) -> list[Comparison]:
    there = ~np.isnan(ratings)
    counts = there.sum(axis=0)
    sums = np.where(there, ratings, 0).sum(axis=0)
    of_items = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    found = []
    for a, b in itertools.combinations(range(len(systems)), 2):
        test = paired_test(of_items[:, a], of_items[:, b])
        if not test.pairs:
            continue
        low, high = percentiles(means[:, a] - means[:, b])
        difference = float(np.nanmean(of_items[:, a] - of_items[:, b]))
        found.append((systems[a], systems[b], difference, low, high, test))
    adjusted = holm(np.array([each[-1].p for each in found])) if found else []
    return [
        Comparison(
            question=question,
            first=first,
            second=second,
            difference=difference,
            low=low,
            high=high,
            items=test.pairs,
            p=test.p,
            p_holm=float(p),
            effect=test.effect,
        )
        for (first, second, difference, low, high, test), p in zip(found, adjusted, strict=True)
    ]


def _agreement(ratings: np.ndarray, question: str) -> Agreement:
    units = ratings.reshape(len(ratings), -1)
    return Agreement(
        question=question,
        ordinal=krippendorff_alpha(units, "ordinal"),
        interval=krippendorff_alpha(units, "interval"),
        clips=int(((~np.isnan(units)).sum(axis=0) >= 2).sum()),
    )
