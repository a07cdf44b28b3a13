"""Scaled dot-product attention: the only place that picks a kernel for the backend."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from ldm_jax.models.layers import upcast

# From here on a head's scores leave the caches of a CPU core, and one head at a time is faster than all at once.
_SCORES_PER_HEAD_AT_ONCE = 128 * 128
_KEYS_AT_ONCE = range(64, 257)  # in the backward pass, which goes through the scores more often


def attend(
    query: Float[Array, "batch queries heads dim"],
    key: Float[Array, "batch keys heads dim"],
    value: Float[Array, "batch keys heads dim"],
    *,
    mask: Bool[Array, "#batch #heads #queries keys"] | None = None,
    bias: Shaped[Array, "#batch #heads #queries keys"] | None = None,
    scale: float | None = None,
    drop: Callable[[Array], Array] | None = None,
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
        drop: dropout of the probabilities (batch, heads, queries, keys) in training; with it XLA runs the formula.
    """
    dim = query.shape[-1]
    scale = float(dim**-0.5) if scale is None else scale
    backend = jax.default_backend()
    sixteen_bits = query.dtype in (jnp.bfloat16, jnp.float16)
    if drop is None and backend == "gpu" and sixteen_bits and dim % 8 == 0 and dim <= 128:
        bias = None if bias is None else bias.astype(query.dtype)
        return jax.nn.dot_product_attention(
            query, key, value, mask=mask, bias=bias, scale=scale, implementation="cudnn"
        )
    if mask is not None:
        masked = jnp.where(mask, 0.0, jnp.finfo(upcast(query).dtype).min / 2)
        bias = masked if bias is None else bias + masked
    query, key, value = (x.transpose(0, 2, 1, 3) for x in (query * scale, key, value))
    if drop is not None:
        return _with_dropout(query, key, value, bias, drop).transpose(0, 2, 1, 3)
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
    return _with_normaliser(query, key, value, bias)[0]


def _with_normaliser(
    query: Float[Array, "*rows queries dim"],
    key: Float[Array, "*rows keys dim"],
    value: Float[Array, "*rows keys dim"],
    bias: Shaped[Array, "*_ keys"] | None,
) -> tuple[Array, Array, Array]:
    """`_softmax_average`, each query's greatest score m, and the sum of exp(scores - m)."""
    scores = upcast(jnp.matmul(query, key.swapaxes(-1, -2)))
    if bias is not None:
        scores = scores + bias
    greatest = scores.max(axis=-1, keepdims=True)
    weights = jnp.exp(scores - greatest)
    total = weights.sum(axis=-1, keepdims=True)
    out = (jnp.matmul(weights.astype(value.dtype), value) / total).astype(value.dtype)
    return out, greatest, total


def _with_dropout(
    query: Float[Array, "*rows queries dim"],
    key: Float[Array, "*rows keys dim"],
    value: Float[Array, "*rows keys dim"],
    bias: Shaped[Array, "*_ keys"] | None,
    drop: Callable[[Array], Array],
) -> Float[Array, "*rows queries dim"]:
    """`_softmax_average` with probabilities dropped, which then need not sum to 1."""
    scores = upcast(jnp.matmul(query, key.swapaxes(-1, -2)))
    probabilities = jax.nn.softmax(scores if bias is None else scores + bias, axis=-1)
    return jnp.matmul(drop(probabilities).astype(value.dtype), value)


def _one_head_at_a_time(
    query: Float[Array, "batch heads queries dim"],
    key: Float[Array, "batch heads keys dim"],
    value: Float[Array, "batch heads keys dim"],
    bias: Shaped[Array, "#batch #heads #queries keys"] | None,
) -> Float[Array, "batch heads queries dim"]:
    """A head of each part of the batch at a time: devices divide these, and would gather what a loop runs over."""
    batch, heads = query.shape[:2]
    parts = math.gcd(batch, jax.device_count())

    def rows(x: Array) -> Array:
        return x.reshape(parts, batch // parts * heads, *x.shape[2:])

    if bias is not None:
        bias = rows(jnp.broadcast_to(bias, (batch, heads, *bias.shape[2:])))
    out = jax.vmap(_in_turn)(rows(query), rows(key), rows(value), bias)
    return out.reshape(query.shape[:-1] + value.shape[-1:])


@jax.custom_vjp
def _in_turn(
    query: Float[Array, "rows queries dim"],
    key: Float[Array, "rows keys dim"],
    value: Float[Array, "rows keys dim"],
    bias: Shaped[Array, "rows #queries keys"] | None,
) -> Float[Array, "rows queries dim"]:
    """`_softmax_average` row by row. The backward pass computes the scores again, for they would fill the memory."""
    return jax.lax.map(lambda row: _softmax_average(*row), (query, key, value, bias))


def _in_turn_forward(
    query: Array, key: Array, value: Array, bias: Array | None
) -> tuple[Array, tuple[Any, ...]]:
    rows = (query, key, value, bias)
    out, greatest, total = jax.lax.map(lambda row: _with_normaliser(*row), rows)
    return out, (*rows, out, greatest, total)


def _in_turn_backward(kept: tuple[Any, ...], gradient: Array) -> tuple[Array | None, ...]:
    """After Dao et al. (2022, arXiv 2205.14135), appendix B.2; with keys as rows one product of five is transposed."""
    *rows, out, greatest, total = kept
    gradient = gradient / total  # of the sum that is not normalised
    # A sum of so few numbers each; XLA's takes ten times as long as a product with ones.
    through = jnp.matmul(upcast(out) * gradient, jnp.ones(out.shape[-1:], gradient.dtype))

    def one(row: tuple[Any, ...]) -> tuple[Array | None, ...]:
        query, key, value, bias, gradient, greatest, through = row
        gradient = gradient.astype(value.dtype)

        def some_keys(
            of_query: Array, part: tuple[Any, ...]
        ) -> tuple[Array, tuple[Array | None, ...]]:
            key, value, bias = part
            scores = upcast(key @ query.T)
            if bias is not None:
                scores = scores + bias
            weights = jnp.exp(scores - greatest[None])
            of_value = weights.astype(value.dtype) @ gradient
            of_scores = weights * (upcast(value @ gradient.T) - through[None])
            of_bias = None
            if bias is not None:
                summed = of_scores.sum(1, keepdims=True) if bias.shape[1] == 1 else of_scores
                of_bias = summed.astype(bias.dtype)
            of_scores = of_scores.astype(key.dtype)
            return of_query + upcast(key.T @ of_scores), (of_scores @ query, of_value, of_bias)

        by_key = (key, value, None if bias is None else bias.T)
        parts = jax.tree.map(lambda x: x.reshape(-1, _at_once(len(key)), x.shape[-1]), by_key)
        begin = jnp.zeros(query.T.shape, jnp.promote_types(query.dtype, jnp.float32))
        of_query, found = jax.lax.scan(some_keys, begin, parts)
        of_key, of_value, of_bias = jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), found)
        of_bias = None if of_bias is None else of_bias.T
        return of_query.T.astype(query.dtype), of_key, of_value, of_bias

    return jax.lax.map(one, (*rows, gradient, greatest[..., 0], through))


def _at_once(keys: int) -> int:
    """The most keys, in parts of one size, whose scores stay in a core's cache; all where no such part divides them."""
    return max((size for size in _KEYS_AT_ONCE if keys % size == 0), default=keys)


_in_turn.defvjp(_in_turn_forward, _in_turn_backward)
