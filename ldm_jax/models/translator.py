"""The translator of any modality to the language of audio (AudioLDM 2, arXiv 2308.05734).

Encoded conditions become one sequence of GPT-2's width, which GPT-2 continues:

    [SOS 0] CLAP [EOS 0] [SOS 1] T5 or phonemes [EOS 1] -> LOA LOA LOA ...

Each new token of the language of audio (LOA) is the last hidden state, and the next input.

A row of a batch comes out as it would alone. Where a batch pads a short row, tokens are *absent*:
they take no position and nothing attends to them. A *present* token may be masked too, as the peers
do with the padding of phonemes and of negative prompts: nothing attends to it, but it takes a
position, and so moves those of the tokens after it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ldm_jax.models.gpt2 import GPT2
from ldm_jax.models.layers import Dense, Dtype

Stream = tuple[Float[Array, "batch _ _"], Bool[Array, "batch _"], Bool[Array, "batch _"] | None]


class Condition(NamedTuple):
    """A sequence for GPT-2.

    Attributes:
        embeds: what stands at each column.
        mask: True where a column may be attended to; False at absent tokens.
        position_ids: how many present tokens stand before each column.
    """

    embeds: Float[Array, "batch length d"]
    mask: Bool[Array, "batch length"]
    position_ids: Int[Array, "batch length"]


class Translator(nn.Module):
    """Projects streams of encoded conditions and joins them between start and end tokens.

    Attributes:
        stream_dims: width of each stream's states, in the order of the sequence.
        d_model: width of GPT-2.
        max_seq_length: of the last stream, where positions are learned for it (speech); else None.
        dtype: compute type.
    """

    stream_dims: tuple[int, ...] = (512, 1024)
    d_model: int = 768
    max_seq_length: int | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, streams: Sequence[Stream]) -> Condition:
        """The condition that GPT-2 continues.

        Args:
            streams: for each of `stream_dims`, (states (batch, n, dim), mask (batch, n), present
                (batch, n) or None where all tokens are).

        Raises:
            ValueError: another number of streams, or a last one that is not `max_seq_length` long.
        """
        if len(streams) != len(self.stream_dims):
            raise ValueError(f"{len(streams)} streams, but stream_dims is {self.stream_dims}")
        embeds, masks, presents = [], [], []
        for i, (states, mask, present) in enumerate(streams):
            suffix = f"_{i}" if i else ""
            if self.max_seq_length is not None and i == len(streams) - 1:
                states = states + self._learned_positions(states.shape[1])
            projected = Dense(self.d_model, dtype=self.dtype, name=f"projection{suffix}")(states)
            start, end = (
                self.param(f"{name}_embed{suffix}", nn.initializers.normal(1.0), (self.d_model,))
                for name in ("sos", "eos")
            )
            shape = (states.shape[0], 1, self.d_model)
            start, end = (
                jnp.broadcast_to(x.astype(self.dtype)[None, None], shape) for x in (start, end)
            )
            present = jnp.ones_like(mask) if present is None else present
            embeds += [start, projected, end]
            masks.append(jnp.pad(mask & present, ((0, 0), (1, 1)), constant_values=True))
            presents.append(jnp.pad(present, ((0, 0), (1, 1)), constant_values=True))
        present = jnp.concatenate(presents, axis=1).astype(jnp.int32)
        position_ids = jnp.cumsum(present, axis=1) - present
        return Condition(
            jnp.concatenate(embeds, axis=1), jnp.concatenate(masks, axis=1), position_ids
        )

    def _learned_positions(self, length: int) -> Float[Array, "1 length dim"]:
        if length != self.max_seq_length:
            raise ValueError(
                f"the last stream has {length} tokens, but positions are learned for "
                f"{self.max_seq_length}: pad it to that, with a mask of False"
            )
        shape = (1, length, self.stream_dims[-1])
        table = self.param("learnable_positional_embedding", nn.initializers.zeros, shape)
        return table.astype(self.dtype)


def append_tokens(condition: Condition, tokens: Float[Array, "batch n d"]) -> Condition:
    """`condition` with `tokens` behind it: LOA that is given, to train on or to be continued."""
    batch, n, _ = tokens.shape
    last = condition.position_ids[:, -1:]
    return Condition(
        jnp.concatenate([condition.embeds, tokens.astype(condition.embeds.dtype)], axis=1),
        jnp.concatenate([condition.mask, jnp.ones((batch, n), bool)], axis=1),
        jnp.concatenate([condition.position_ids, last + 1 + jnp.arange(n)[None, :]], axis=1),
    )


def generate_loa(
    gpt2: GPT2, params: dict, condition: Condition, *, n_tokens: int
) -> Float[Array, "batch {n_tokens} d"]:
    """The LOA tokens that follow `condition`: y_1 = h_L, y_(i+1) = h_(L+i), with y_i fed at L + i.

    h are GPT-2's hidden states and L is the last column, which has to be present in every row; a
    `Translator` ends on [EOS]. There is no sampling. With `append_tokens` before it this also
    continues given LOA, as the official `generate_partial` does.

    Args:
        gpt2: the network.
        params: its parameters.
        condition: what to continue.
        n_tokens: how many tokens, 8 for sound and music and 512 for speech as published.

    Raises:
        ValueError: `n_tokens` below 1, or no room for them among GPT-2's positions. (The official
            code cuts the condition to n_positions - n_tokens there, and with it the last [EOS];
            no published model gets that far.)
    """
    length = condition.embeds.shape[1]
    if n_tokens < 1:
        raise ValueError(f"n_tokens is {n_tokens}; at least one token is generated")
    if length + n_tokens > gpt2.n_positions:
        raise ValueError(
            f"a condition of {length} and {n_tokens} tokens to generate are more than GPT-2's "
            f"{gpt2.n_positions} positions: shorten one of them"
        )
    variables = {"params": params}
    hidden, cache = gpt2.apply(variables, *condition, length + n_tokens - 1, method="prefill")
    first = hidden[:, -1:]

    def step(carry, _):
        token, cache = gpt2.apply(variables, *carry, method="decode_step")
        return (token, cache), token[:, 0]

    _, rest = jax.lax.scan(step, (first, cache), length=n_tokens - 1)
    return jnp.concatenate([first, rest.swapaxes(0, 1)], axis=1)


def predict_loa(
    gpt2: GPT2,
    params: dict,
    condition: Condition,
    target: Float[Array, "batch n d"],
    *,
    key: Array | None = None,
) -> Float[Array, "batch n d"]:
    """Teacher forcing: each LOA token predicted from `condition` and the `target` tokens before it.

    Args:
        gpt2: the network.
        params: its parameters.
        condition: what comes before.
        target: the true tokens.
        key: for dropout; None leaves it out.
    """
    sequence = append_tokens(condition, target[:, :-1])
    hidden = gpt2.apply(
        {"params": params},
        sequence.embeds,
        mask=sequence.mask,
        position_ids=sequence.position_ids,
        deterministic=key is None,
        rngs=None if key is None else {"dropout": key},
    )
    return jnp.asarray(hidden)[:, condition.embeds.shape[1] - 1 :]
