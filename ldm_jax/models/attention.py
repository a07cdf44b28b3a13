"""Scaled dot-product attention: the only place that picks a kernel for the backend."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from ldm_jax.models.layers import upcast


def attend(
    query: Float[Array, "batch queries heads dim"],
    key: Float[Array, "batch keys heads dim"],
    value: Float[Array, "batch keys heads dim"],
    *,
    mask: Bool[Array, "#batch #heads #queries keys"] | None = None,
    bias: Shaped[Array, "#batch #heads #queries keys"] | None = None,
    scale: float | None = None,
) -> Float[Array, "batch queries heads dim"]:
    """softmax(scale * q k^T + bias) v, keys with a False mask left out; the softmax in at least float32.

    Args:
        query: what asks.
        key: what is asked.
        value: what is averaged.
        mask: True where a key may be attended to. A row without a True key yields the mean of all values.
        bias: added to the scores, e.g. a relative position bias.
        scale: of the scores; dim ** -0.5 where None.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = upcast(jnp.einsum("bqhd,bkhd->bhqk", query * scale, key))
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, value)
