"""Bands of log SNR, by which losses are logged and compared."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int

# AudioLDM 2's schedule runs from 6.5 down to -8.9.
EDGES = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0)


def check_edges(edges: Sequence[float]) -> None:
    """Raises ValueError unless `edges` are finite and rise."""
    values = np.asarray(edges, np.float64)
    if not np.isfinite(values).all() or (np.diff(values) <= 0).any():
        raise ValueError(f"Edges of log SNR bands must be finite and rise, but got {tuple(edges)}.")


def band_of(
    log_snr: Float[Array | np.ndarray, "*levels"], edges: Sequence[float] = EDGES
) -> Int[Array | np.ndarray, "*levels"]:
    """Number of the band that each log SNR lies in: 0 below the first edge, len(edges) from the last on.

    Band i holds edges[i - 1] <= log SNR < edges[i].
    """
    if isinstance(log_snr, jax.Array):
        return jnp.searchsorted(jnp.asarray(edges, log_snr.dtype), log_snr, side="right")
    return np.searchsorted(np.asarray(edges, np.float64), log_snr, side="right").astype(np.int32)


def labels(edges: Sequence[float] = EDGES) -> tuple[str, ...]:
    """What the bands are called: "below -6", "-6 to -4", ..., "4 up". One more than the edges."""
    if not len(edges):
        return ("all",)
    inner = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges)]
    return (f"below {edges[0]:g}", *inner, f"{edges[-1]:g} up")


def shares(
    amounts: Float64[np.ndarray, " timesteps"],
    log_snr: Float64[np.ndarray, " timesteps"],
    edges: Sequence[float] = EDGES,
) -> Float64[np.ndarray, " bands"]:
    """The part of the sum of `amounts` that falls in each band; all add up to 1."""
    totals = np.bincount(band_of(log_snr, edges), weights=amounts, minlength=len(edges) + 1)
    return totals / totals.sum()
