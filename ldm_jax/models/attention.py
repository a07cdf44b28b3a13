"""Scaled dot-product attention: the only place that picks a kernel for the backend."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from ldm_jax.models.layers import upcast

# From here on a head's scores leave the caches of a CPU core, and one head at a time is faster than all at once.
_SCORES_PER_HEAD_AT_ONCE = 128 * 128


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

    On a GPU in 16 bits this is cuDNN's fused kernel, on a CPU a loop over heads where their scores are large,
    elsewhere what XLA makes of the formula.

    Args:
        query: what asks.
        key: what is asked.
        value: what is averaged.
        mask: True where a key may be attended to. A row without a True key yields a mean of values.
        bias: added to the scores, e.g. a relative position bias.
        scale: of the scores; dim ** -0.5 where None.
    """
    dim = query.shape[-1]
    scale = float(dim**-0.5) if scale is None else scale
    backend = jax.default_backend()
    sixteen_bits = query.dtype in (jnp.bfloat16, jnp.float16)
    if backend == "gpu" and sixteen_bits and dim % 8 == 0 and dim <= 128:
        bias = None if bias is None else bias.astype(query.dtype)
        return jax.nn.dot_product_attention(
            query, key, value, mask=mask, bias=bias, scale=scale, implementation="cudnn"
        )
    if mask is not None:
        masked = jnp.where(mask, 0.0, jnp.finfo(upcast(query).dtype).min / 2)
        bias = masked if bias is None else bias + masked
    query, key, value = (x.transpose(0, 2, 1, 3) for x in (query * scale, key, value))
    if backend == "cpu" and query.shape[2] * key.shape[2] >= _SCORES_PER_HEAD_AT_ONCE:
        return _one_head_at_a_time(query, key, value, bias).transpose(0, 2, 1, 3)
    return _softmax_average(query, key, value, bias).transpose(0, 2, 1, 3)


def _softmax_average(
    query: Float[Array, "*rows queries dim"],
    key: Float[Array, "*rows keys dim"],
    value: Float[Array, "*rows keys dim"],
    bias: Shaped[Array, "*_ keys"] | None,
) -> Float[Array, "*rows queries dim"]:
    """The formula, normalised after the product with `value`, which has fewer numbers than the scores."""
    scores = upcast(jnp.matmul(query, key.swapaxes(-1, -2)))
    if bias is not None:
        scores = scores + bias
    weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
    total = weights.sum(axis=-1, keepdims=True)
    return (jnp.matmul(weights.astype(value.dtype), value) / total).astype(value.dtype)


def _one_head_at_a_time(
    query: Float[Array, "batch heads queries dim"],
    key: Float[Array, "batch heads keys dim"],
    value: Float[Array, "batch heads keys dim"],
    bias: Shaped[Array, "#batch #heads #queries keys"] | None,
) -> Float[Array, "batch heads queries dim"]:
    batch, heads = query.shape[:2]
    rows = [x.reshape(batch * heads, *x.shape[2:]) for x in (query, key, value)]
    if bias is None:
        out = jax.lax.map(lambda row: _softmax_average(row[0], row[1], row[2], None), rows)
    else:
        bias = jnp.broadcast_to(bias, (batch, heads, *bias.shape[2:]))
        rows.append(bias.reshape(batch * heads, *bias.shape[2:]))
        out = jax.lax.map(lambda row: _softmax_average(row[0], row[1], row[2], row[3]), rows)
    return out.reshape(batch, heads, *out.shape[1:])
