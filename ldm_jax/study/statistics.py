"""Means over seeds, and differences from a reference of the same seeds, with 95 % intervals."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float

from ldm_jax.eval.listening.statistics import holm, t_interval

LEVEL = 0.05


class Interval(NamedTuple):
    """A mean over seeds; the interval is Student's, nan of one seed."""

    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """A mean difference from the reference, seed by seed.

    Attributes:
        mean: value minus reference's.
        low: of the 95 % interval, of this difference alone.
        high: likewise.
        p: two-sided, of a paired t-test, after Holm's adjustment for all that are compared with the reference.
    """

    mean: float
    low: float
    high: float
    p: float

    @property
    def certain(self) -> bool:
        """Whether it is more than noise."""
        return self.p < LEVEL


def interval(values: Float[np.ndarray, " seeds"]) -> Interval:
    """The mean with its interval."""
    return Interval(*t_interval(np.asarray(values, np.float64)))


def differences(
    values: Mapping[str, Float[np.ndarray, " seeds"]], reference: str
) -> dict[str, Difference]:
    """Of every other entry from that of `reference`, in which the seeds have the same places.

    What data, noise and the network of a seed do to all alike cancels. A value without spread around the reference's
    has p = 0, or 1 where they are equal.

    Raises:
        KeyError: no such reference.
    """
    names = [name for name in values if name != reference]
    apart = {name: np.asarray(values[name] - values[reference], np.float64) for name in names}
    p = holm(np.array([_p(apart[name]) for name in names]))
    return {
        name: Difference(*interval(apart[name]), p=float(adjusted))
        for name, adjusted in zip(names, p, strict=True)
    }


def _p(apart: Float[np.ndarray, " seeds"]) -> float:
    spread = apart.std(ddof=1) if len(apart) > 1 else np.nan
    if not spread > 0:
        return 1.0 if np.isnan(spread) or not apart.any() else 0.0
    statistic = apart.mean() / spread * np.sqrt(len(apart))
    return float(2 * scipy.stats.t.sf(abs(statistic), len(apart) - 1))
