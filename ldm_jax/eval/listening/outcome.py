"""What an analysis holds."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
    """What counts, and how it is computed.

    Attributes:
        partial: whether ratings of unfinished results count.
        max_failed: share of the attention checks above which a rater is left out; None is a quarter, or what the
            standard says where there is one.
        normalise: z-scores for each rater and question in place of ratings.
        draws: of the bootstrap.
        seed: of the bootstrap.
    """

    partial: bool = False
    max_failed: float | None = None
    normalise: bool = False
    draws: int = 2000
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rater:
    """One rater, and whether their ratings count.

    Attributes:
        name: as in the link, or the session.
        source: the file.
        why_not: one sentence; "" where the ratings count.
        rated: trials, checks included.
        trials: that were to be rated.
        failed: kinds of the checks that were failed.
        checks: how many were answered.
        minutes: on the clips' pages; None unknown.
        device: what they listened with.
        comment: in their words.
    """

    name: str
    source: str
    why_not: str
    rated: int
    trials: int
    failed: tuple[str, ...]
    checks: int
    minutes: float | None
    device: str
    comment: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """A system's mean for a question.

    Attributes:
        question: its name.
        system: its name.
        mean: of all ratings.
        t_low: of the 95 % interval that takes all ratings for independent.
        t_high: likewise.
        low: of the 95 % interval over raters and items, by bootstrap.
        high: likewise.
        deviation: of the ratings (n - 1).
        ratings: how many.
        raters: how many.
        items: how many.
    """

    question: str
    system: str
    mean: float
    t_low: float
    t_high: float
    low: float
    high: float
    deviation: float
    ratings: int
    raters: int
    items: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two systems on the items that both were rated on.

    Attributes:
        question: its name.
        first: a system.
        second: a system.
        difference: of the items' means, first less second.
        low: of its 95 % interval over raters and items, by bootstrap.
        high: likewise.
        items: pairs of means that were compared.
        p: of Wilcoxon's signed-rank test over items, two-sided.
        p_holm: adjusted for all comparisons of the question.
        effect: rank-biserial correlation, from -1 to 1.
    """

    question: str
    first: str
    second: str
    difference: float
    low: float
    high: float
    items: int
    p: float
    p_holm: float
    effect: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """Krippendorff's alpha of the raters for a question, with clips as units; nan where no clip has two ratings."""

    question: str
    ordinal: float
    interval: float
    clips: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Analysis:
    """Everything about one test."""

    test: str
    title: str
    scale: int
    rules: Rules
    raters: tuple[Rater, ...]
    problems: tuple[str, ...]
    scores: tuple[Score, ...]
    comparisons: tuple[Comparison, ...]
    agreement: tuple[Agreement, ...]
