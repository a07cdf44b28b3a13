"""GPT-2's free roll-out with its gradient, in memory that grows with its length and not with the square of it.

The roll-out y solves y_i = F_i(c, y_1 .. y_(i-1); theta): c is the condition, and F is GPT-2's prediction of all tokens
at once from those before them. So the gradient of a loss L(y) is that of F at constant y,

    dL/d(theta, c) = sum_i l_i dF_i/d(theta, c),    l_i = dL/dy_i + sum_(k > i) l_k dF_k/dy_i.

Generation, without a gradient, finds y; then one pass of F over the whole sequence is differentiated as usual, and only
the l_i are computed token by token, from the last to the first, with the same keys and values that generation saw.

Differentiating the steps of generation themselves gives the same numbers, but keeps the keys and values of the whole
sequence once a step (31 GB a clip for the 512 tokens of speech), and adds to all weights' gradients in each.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ldm_jax.models.gpt2 import GPT2, Cache
from ldm_jax.models.translator import Condition, append_tokens, generate_loa


def roll_out(
    gpt2: GPT2, params: dict, condition: Condition, *, n_tokens: int
) -> Float[Array, "batch {n_tokens} d"]:
    """`generate_loa`, up to rounding, to be differentiated in reverse.

    Args:
        gpt2: the network, without dropout.
        params: its parameters.
        condition: what to continue.
        n_tokens: how many tokens.

    Raises:
        ValueError: as `generate_loa`.
    """
    constant = jax.lax.stop_gradient(params)
    tokens = generate_loa(gpt2, constant, jax.lax.stop_gradient(condition), n_tokens=n_tokens)
    sequence = append_tokens(condition, tokens[:, :-1])
    columns = sequence.embeds.shape[1]
    made: Any = gpt2.apply({"params": params}, *sequence, columns, method="prefill")
    hidden, cache = made
    predicted = hidden[:, columns - n_tokens :]
    if n_tokens == 1:
        return predicted
    cache = jax.lax.stop_gradient(cache)
    return _fed_back(gpt2, predicted, (constant, cache, tokens[:, :-1], sequence.position_ids))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _fed_back(gpt2: GPT2, predicted: Array, constants: tuple[Any, ...]) -> Array:
    """`predicted`; its cotangent dL/dy becomes l."""
    return predicted


def _forward(gpt2: GPT2, predicted: Array, constants: tuple[Any, ...]) -> tuple[Array, Any]:
    return predicted, constants


def _backward(gpt2: GPT2, constants: tuple[Any, ...], cotangent: Array) -> tuple[Array, None]:
    params, cache, tokens, position_ids = constants
    first = position_ids.shape[1] - tokens.shape[1]

    def step(carry: Any, inputs: tuple[Array, Array, Array]) -> tuple[Any, Array]:
        """From l_(i+1) and the gradients of keys and values, as used by later tokens, to l_i."""
        later, layers = carry
        i, token, direct = inputs
        column = first + i
        seen = cache.mask & (jnp.arange(position_ids.shape[1]) < column)[None, :]
        position = jax.lax.dynamic_index_in_dim(position_ids, column, axis=1, keepdims=False)

        def one(token: Array, layers: Any) -> tuple[Array, Any]:
            past = Cache(layers, seen, position, column)
            made: Any = gpt2.apply({"params": params}, token, past, method="decode_step")
            out, new = made
            return out, new.layers

        _, pull = jax.vjp(one, token, cache.layers)
        through, layers = pull((later, layers))
        found = direct + through
        return (found, layers), found

    nothing = jax.tree.map(jnp.zeros_like, cache.layers)
    inputs = (
        jnp.arange(tokens.shape[1]),
        jnp.moveaxis(tokens, 1, 0)[:, :, None],
        jnp.moveaxis(cotangent[:, :-1], 1, 0)[:, :, None],
    )
    _, found = jax.lax.scan(step, (cotangent[:, -1:], nothing), inputs, reverse=True)
    return jnp.concatenate([jnp.moveaxis(found[:, :, 0], 0, 1), cotangent[:, -1:]], axis=1), None


_fed_back.defvjp(_forward, _backward)
