"""Rows as a metric needs them, or one sentence that says what is wrong with them."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from ldm_jax.eval.metrics.state import Rows, State, stacked

Side = Literal["generated", "reference"]


def vectors(
    rows: Rows, side: Side, *, least: int = 2, names: Sequence[str] | None = None
) -> Float[np.ndarray, "rows dim"]:
    """All rows of one side, or those of `names`, by sorted name, in float64.

    Args:
        rows: of the side.
        side: what the errors call it.
        least: number of rows that the metric cannot do without.
        names: clips; None is all.

    Raises:
        ValueError: fewer rows than `least`, clips of different width, a clip without rows, or one whose features
            are not finite.
    """
    chosen = sorted(rows if names is None else names)
    for name in chosen:
        _check(rows, name, first=chosen[0], side=side)
    count = sum(len(rows[name]) for name in chosen)
    if count < least:
        raise ValueError(
            f"{side}: {count} feature vectors of {len(chosen)} clips; this metric takes {least} or more"
        )
    return stacked(rows, chosen).astype(np.float64)


def _check(rows: Rows, name: str, *, first: str, side: Side) -> None:
    features, width = rows[name], rows[first].shape[-1]
    if features.ndim != 2 or not len(features):
        raise ValueError(
            f"{side} clip {name!r}: features of shape {features.shape}; expected (rows, width), one row or more"
        )
    if features.shape[-1] != width:
        raise ValueError(
            f"{side} clip {name!r}: features of width {features.shape[-1]}, but {width} in clip {first!r}; "
            "all have to come from one network"
        )
    if not np.isfinite(features).all():
        raise ValueError(
            f"{side} clip {name!r}: features that are not finite; is the file damaged?"
        )


def same_width(x: np.ndarray, y: np.ndarray) -> None:
    """Both sides come from one network.

    Raises:
        ValueError: their widths differ.
    """
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(
            f"features of width {x.shape[-1]} (generated) and {y.shape[-1]} (reference); "
            "both sides have to come from one network"
        )


def paired_names(state: State) -> tuple[str, ...]:
    """Names on both sides, sorted.

    Raises:
        ValueError: there is none.
    """
    if not state.pairs:
        raise ValueError(
            f"none of {len(state.generated)} generated and {len(state.reference)} reference clips have a name in "
            "common; this metric compares clips of the same name"
        )
    return state.pairs


def paired_rows(
    state: State, names: Sequence[str]
) -> tuple[Float[np.ndarray, "rows dim"], Float[np.ndarray, "others dim"]]:
    """`vectors` of the clips `names` on the generated and on the reference side.

    Raises:
        ValueError: as `vectors` and `same_width`.
    """
    x = vectors(state.generated, "generated", least=1, names=names)
    y = vectors(state.reference, "reference", least=1, names=names)
    same_width(x, y)
    return x, y


def unpaired(state: State) -> int:
    """How many clips, of both sides, have no partner."""
    return len(state.generated.keys() ^ state.reference.keys())


def summed_by_clip(numbers: Float[np.ndarray, " rows"], rows: Rows) -> dict[str, float]:
    """The sum over each clip's rows of numbers that stand in the order of `vectors`; {} if there are none."""
    if not len(numbers):
        return {}
    names = sorted(rows)
    ends = np.cumsum([len(rows[name]) for name in names])
    return {
        name: float(part.sum())
        for name, part in zip(names, np.split(numbers, ends[:-1]), strict=True)
    }
