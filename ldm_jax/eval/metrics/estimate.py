"""A figure, and how sure it is."""

import dataclasses
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from ldm_jax.eval.metrics.state import State


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a metric says of a state.

    Attributes:
        value: the figure.
        low: of its 95 % bootstrap interval over clips; None where none was asked for.
        high: likewise.
        clips: how many were used, pairs where the metric pairs.
        details: further numbers that belong to it, such as the deviation over splits, or slope and R^2 of a fit.
    """

    value: float
    clips: int
    low: float | None = None
    high: float | None = None
    details: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """Intervals from `draws` samples of as many clips with replacement; see `ldm_jax.eval.metrics.bootstrap`."""

    draws: int = 1000
    seed: int = 0


@runtime_checkable
class Metric(Protocol):
    """A function of a state, with its settings as the fields of a frozen dataclass."""

    def compute(self, state: State, *, bootstrap: Bootstrap | None = None) -> Estimate:
        """The figure.

        Raises:
            ValueError: too few clips, no pair, or features of different width, in one sentence.
        """
        ...
