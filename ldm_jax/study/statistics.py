"""Means over seeds or clips, and differences from a reference of the same ones, with 95 % intervals."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float

from ldm_jax.eval.listening.statistics import holm, t_interval

LEVEL = 0.05

# A number a seed; or a row a seed of numbers a clip, the clips being the same in all rows.
Values = Float[np.ndarray, " seeds"] | Float[np.ndarray, "seeds clips"]


class Interval(NamedTuple):
    """A mean; of one over seeds or clips the interval is Student's, nan of one."""

    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """A mean difference from the reference, seed by seed or clip by clip.

    Attributes:
        mean: value minus reference's.
        low: of the 95 % interval, of this difference alone.
        high: likewise.
        p: two-sided, of a paired t-test, after Holm's adjustment for all that are compared with the reference.
        agreed: whether its sign is that of each seed's mean difference; of a difference over clips, which says nothing
            of other seeds, this is asked too.
    """

    mean: float
    low: float
    high: float
    p: float
    agreed: bool = True

    @property
    def certain(self) -> bool:
        """Whether it is more than noise."""
        return self.p < LEVEL and self.agreed


def interval(values: Values) -> Interval:
    """The mean with its interval."""
    return Interval(*t_interval(_units(values)))


def differences(values: Mapping[str, Values], reference: str) -> dict[str, Difference]:
    """Of every other entry from that of `reference`, in which seeds and clips have the same places.

    What data, noise, the network of a seed and a clip's caption do to all alike cancels. A value without spread around
    the reference's has p = 0, or 1 where they are equal.

    Raises:
        KeyError: no such reference.
    """
    names = [name for name in values if name != reference]
    apart = {name: np.asarray(values[name] - values[reference], np.float64) for name in names}
    p = holm(np.array([_p(_units(apart[name])) for name in names]))
    return {
        name: Difference(*interval(apart[name]), p=float(adjusted), agreed=_agreed(apart[name]))
        for name, adjusted in zip(names, p, strict=True)
    }


def _units(values: Values) -> Float[np.ndarray, " units"]:
    """What varies: seeds, or clips by their means over seeds."""
    values = np.asarray(values, np.float64)
    return values if values.ndim == 1 else values.mean(axis=0)


def _agreed(apart: Values) -> bool:
    return apart.ndim == 1 or len(set(np.sign(apart.mean(axis=1)))) == 1


def _p(apart: Float[np.ndarray, " units"]) -> float:
    spread = apart.std(ddof=1) if len(apart) > 1 else np.nan
    if not spread > 0:
        return 1.0 if np.isnan(spread) or not apart.any() else 0.0
    statistic = apart.mean() / spread * np.sqrt(len(apart))
    return float(2 * scipy.stats.t.sf(abs(statistic), len(apart) - 1))
