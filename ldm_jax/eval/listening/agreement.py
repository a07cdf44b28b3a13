"""How far raters agree."""

from typing import Literal

import numpy as np
from jaxtyping import Float

Level = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(ratings: Float[np.ndarray, "raters units"], level: Level) -> float:
    """1 - D_o / D_e: 1 for full agreement, 0 for what chance gives, less where raters contradict each other.

    D_o is the mean squared difference between two ratings of one unit, D_e that between any two ratings. The
    difference of values c and k is 0 or 1 (nominal), c - k (interval), or the number of ratings from c to k with
    those two values counted half (ordinal). After K. Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011.

    Args:
        ratings: nan where a rater did not rate a unit; units with fewer than two ratings do not count.
        level: of measurement.

    Returns:
        nan where no unit has two ratings, or all ratings are one value.
    """
    there = ~np.isnan(ratings)
    usable = ratings[:, there.sum(axis=0) >= 2]
    values = np.unique(usable[~np.isnan(usable)])
    if len(values) < 2:
        return float("nan")
    counts = (usable[:, :, None] == values).sum(axis=0).astype(float)  # of each value, by unit
    pairs = np.einsum("uc,uk,u->ck", counts, counts, 1 / (counts.sum(axis=1) - 1))
    pairs -= np.diag((counts / (counts.sum(axis=1, keepdims=True) - 1)).sum(axis=0))
    total = pairs.sum(axis=0)
    squared = _squared_differences(values, total, level)
    expected = (np.outer(total, total) * squared).sum() / (total.sum() - 1)
    return float(1 - (pairs * squared).sum() / expected)


def _squared_differences(values: np.ndarray, total: np.ndarray, level: Level) -> np.ndarray:
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    # The rank of a value is the number of ratings below it and half of its own.
    scale = values if level == "interval" else np.cumsum(total) - total / 2
    return (scale[:, None] - scale) ** 2
