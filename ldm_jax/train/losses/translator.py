"""What the translator's LOA misses: one token ahead given the true ones before it, or several ahead on its own.

After `Sequence2AudioMAE` of haoheliu/AudioLDM-training-finetuning. Its loss is the sum of the two. Where the second is
turned off, as by default, the first stands in for it and so counts twice; with AdamW alone that changes nothing, but in
joint training the translator then weighs 2 against the diffusion model's 1. The paper (arXiv 2308.05734, equation 4)
has squared errors, the released code absolute ones.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ldm_jax.models.gpt2 import GPT2
from ldm_jax.models.layers import upcast
from ldm_jax.models.translator import Condition, append_tokens, predict_loa

MOST_AHEAD = 8  # tokens

PENALTIES = {"l1": jnp.abs, "mse": jnp.square}


def teacher_forced_error(
    gpt2: GPT2,
    params: dict,
    condition: Condition,
    target: Float[Array, "batch n d"],
    *,
    penalty: str = "l1",
    keys: Key[Array, " batch"] | None = None,
) -> Float[Array, " batch"]:
    """Of each clip the mean |F_i(c, x_1 .. x_(i-1)) - x_i| over tokens i and channels ("l1"), or its square ("mse").

    Args:
        gpt2: the network F.
        params: its parameters.
        condition: c.
        target: x, the true tokens.
        penalty: see above.
        keys: for dropout, one a clip, so that a clip's does not depend on its microbatch; None leaves it out.
    """
    if keys is None:
        predicted = predict_loa(gpt2, params, condition, target)
    else:

        def one(condition: Condition, target: Array, key: Array) -> Array:
            row = jax.tree.map(lambda x: x[None], (condition, target))
            return predict_loa(gpt2, params, *row, key=key)[0]

        predicted = jax.vmap(one)(condition, target, keys)
    missed = PENALTIES[penalty](upcast(predicted) - upcast(target))
    return jnp.mean(missed, axis=(1, 2))


def draw_ahead(key: Key[Array, ""], tokens: int) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """(start, steps) of a roll-out within `tokens`, 2 at least, distributed as published.

    steps = max(2, min(round(8 u), tokens)) and start = max(0, round(u' (tokens - steps)) - 1), u and u' uniform.
    """
    first, second = jax.random.uniform(key, (2,))
    steps = jnp.maximum(jnp.minimum(jnp.round(MOST_AHEAD * first), tokens), 2)
    start = jnp.maximum(jnp.round(second * (tokens - steps)) - 1, 0)
    return start.astype(jnp.int32), steps.astype(jnp.int32)


def ahead_error(
    gpt2: GPT2,
    params: dict,
    condition: Condition,
    target: Float[Array, "batch n d"],
    *,
    start: Int[Array, ""],
    steps: Int[Array, ""],
    penalty: str = "l1",
) -> Float[Array, " batch"]:
    """The error of tokens start .. start + steps - 1, which GPT-2 continues the true ones before `start` with.

    The gradient goes through the whole roll-out. One pass over the condition and all true tokens makes the keys and
    values of every prefix there is, of which those up to `start` are kept; so `start` and `steps` may be traced.

    Args:
        gpt2: the network.
        params: its parameters.
        condition: what comes before.
        target: the true tokens.
        start: how many of them are given.
        steps: how many are predicted, 2 to min(8, n), with start + steps <= n.
        penalty: see `teacher_forced_error`.
    """
    length, n = condition.embeds.shape[1], target.shape[1]
    most = min(MOST_AHEAD, n)
    variables = {"params": params}
    sequence = append_tokens(condition, target[:, :-1])
    columns = length + n - 1
    prefilled: Any = gpt2.apply(variables, *sequence, columns, method="prefill")
    hidden, cache = prefilled
    first = jax.lax.dynamic_slice_in_dim(hidden, length - 1 + start, 1, axis=1)
    known = (jnp.arange(columns) < length + start)[None, :]
    cache = cache._replace(
        mask=cache.mask & known,
        position=condition.position_ids[:, -1] + 1 + start,
        column=length + start,
    )

    def step(carry, _):
        token, cache = carry
        # Steps past the last that counts may run out of positions, and NaN times 0 is NaN.
        cache = cache._replace(position=jnp.minimum(cache.position, gpt2.n_positions - 1))
        token, cache = gpt2.apply(variables, token, cache, method="decode_step")
        return (token, cache), token[:, 0]

    _, rest = jax.lax.scan(step, (first, cache), length=most - 1)
    predicted = jnp.concatenate([first, rest.swapaxes(0, 1)], axis=1)
    padded = jnp.pad(target, ((0, 0), (0, most), (0, 0)))
    wanted = jax.lax.dynamic_slice_in_dim(padded, start, most, axis=1)
    missed = jnp.mean(PENALTIES[penalty](upcast(predicted) - upcast(wanted)), axis=2)
    counted = (jnp.arange(most) < steps)[None, :]
    return jnp.sum(jnp.where(counted, missed, 0.0), axis=1) / steps
