"""Figures that a step reports, kept as sums so that those of many steps, rows and devices add up."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped


class Mean(NamedTuple):
    """total / count, element by element.

    Attributes:
        total: a sum, of any shape; a vector has one element a band (of log-SNR, say).
        count: how many were added, of the same shape.
    """

    total: Shaped[Array | np.ndarray, "*shape"]
    count: Shaped[Array | np.ndarray, "*shape"]


Metrics = dict[str, Mean]


def mean(values: Any, weights: Any = None) -> Mean:
    """The mean of all `values` (weighted, where `weights` of the same shape are given), in float32."""
    values = jax.lax.stop_gradient(jnp.asarray(values, jnp.float32))
    if weights is None:
        return Mean(values.sum(), jnp.asarray(values.size, jnp.float32))
    weights = jax.lax.stop_gradient(jnp.asarray(weights, jnp.float32))
    return Mean((values * weights).sum(), weights.sum())


def banded(values: Any, bands: Any, *, count: int) -> Mean:
    """The mean of `values` (n,) in each of `count` bands, `bands` (n,) saying which each belongs to."""
    values = jax.lax.stop_gradient(jnp.asarray(values, jnp.float32))
    inside = jax.nn.one_hot(bands, count, dtype=jnp.float32)
    return Mean((inside * values[:, None]).sum(0), inside.sum(0))


def add(one: Mapping[str, Mean], other: Mapping[str, Mean]) -> Metrics:
    """Both together; a figure that only one has is that one's."""
    together = {**one, **other}
    for name in one.keys() & other.keys():
        together[name] = Mean(
            one[name].total + other[name].total, one[name].count + other[name].count
        )
    return together


def figures(metrics: Mapping[str, Mean]) -> dict[str, Any]:
    """Plain numbers: a float a figure, and of a banded one a list with None where nothing was counted."""
    out: dict[str, Any] = {}
    for name, (total, count) in metrics.items():
        total, count = np.asarray(total, np.float64), np.asarray(count, np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = total / count
        if values.ndim:
            out[name] = [float(v) if n else None for v, n in zip(values, count, strict=True)]
        else:
            out[name] = float(values)
    return out
