"""GPT-2 (Radford et al., 2019) as AudioLDM 2 uses it: embeddings in, hidden states out, no tokens.

A pre-norm transformer with causal attention and learned positions. `prefill` and `decode_step` give
the same states as a call on the whole sequence, with the keys and values of the past in a `Cache`
that the caller holds. Parameter paths mirror the keys of `transformers.GPT2Model`.
"""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ldm_jax.models.attention import attend
from ldm_jax.models.layers import Dtype, LayerNorm

KeyValue = tuple[Float[Array, "batch time heads dim"], Float[Array, "batch time heads dim"]]
Past = tuple[KeyValue, Int[Array, ""]]  # and the column where the next ones go


class Cache(NamedTuple):
    """What decoding remembers; its sequence axis has the room that `prefill` was told to keep.

    Attributes:
        layers: keys and values (batch, time, heads, dim) of every layer.
        mask: the columns that may be attended to; False where nothing is written yet.
        position: of the next token in each row.
        column: where in the sequence axis the next token goes, the same in every row.
    """

    layers: tuple[KeyValue, ...]
    mask: Bool[Array, "batch time"]
    position: Int[Array, " batch"]
    column: Int[Array, ""]


def _dense(features: int, std: float, dtype: Dtype, name: str) -> nn.Dense:
    return nn.Dense(features, kernel_init=nn.initializers.normal(std), dtype=dtype, name=name)


class Attention(nn.Module):
    """softmax(q k^T / sqrt(dim)) v, with q, k and v from one fused projection.

    Attributes:
        n_head: heads.
        output_std: standard deviation of the initial output projection.
        dropout: rate on the output.
        dtype: compute type.
    """

    n_head: int
    output_std: float
    dropout: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch queries d"],
        *,
        mask: Bool[Array, "#batch 1 queries keys"],
        past: Past | None,
        deterministic: bool,
    ) -> tuple[Float[Array, "batch queries d"], KeyValue]:
        """The output, and the keys and values: its own, or the `past` with its own written in."""
        d = x.shape[-1]
        heads = (*x.shape[:2], self.n_head, d // self.n_head)
        fused = _dense(3 * d, 0.02, self.dtype, "c_attn")(x)
        query, key, value = (part.reshape(heads) for part in jnp.split(fused, 3, axis=-1))
        if past is not None:
            (keys, values), column = past
            write = partial(jax.lax.dynamic_update_slice_in_dim, start_index=column, axis=1)
            key, value = write(keys, key), write(values, value)
        out = attend(query, key, value, mask=mask)
        out = _dense(d, self.output_std, self.dtype, "c_proj")(out.reshape(x.shape))
        return nn.Dropout(self.dropout)(out, deterministic=deterministic), (key, value)


class MLP(nn.Module):
    """c_proj(gelu(c_fc x)), the gelu by its tanh formula."""

    n_inner: int
    output_std: float
    dropout: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch queries d"], *, deterministic: bool
    ) -> Float[Array, "batch queries d"]:
        """Each column by itself."""
        hidden = nn.gelu(_dense(self.n_inner, 0.02, self.dtype, "c_fc")(x), approximate=True)
        out = _dense(x.shape[-1], self.output_std, self.dtype, "c_proj")(hidden)
        return nn.Dropout(self.dropout)(out, deterministic=deterministic)


class Block(nn.Module):
    """x + attn(ln_1(x)), then x + mlp(ln_2(x))."""

    n_head: int
    n_inner: int
    epsilon: float
    output_std: float
    dropout: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch queries d"],
        *,
        mask: Bool[Array, "#batch 1 queries keys"],
        past: Past | None = None,
        deterministic: bool = True,
    ) -> tuple[Float[Array, "batch queries d"], KeyValue]:
        """The states, and what `Attention` gives to be remembered."""
        shared = {"output_std": self.output_std, "dropout": self.dropout, "dtype": self.dtype}
        norm = partial(LayerNorm, self.epsilon, self.dtype)
        out, present = Attention(self.n_head, **shared, name="attn")(
            norm(name="ln_1")(x), mask=mask, past=past, deterministic=deterministic
        )
        x = x + out
        mlp = MLP(self.n_inner, **shared, name="mlp")
        return x + mlp(norm(name="ln_2")(x), deterministic=deterministic), present


class GPT2(nn.Module):
    """Embeddings to hidden states. The defaults are AudioLDM 2's `language_model`.

    Initial weights are GPT-2's: normal of deviation 0.02, those of projections back into the
    residual stream 0.02 / sqrt(2 n_layer). With `deterministic=False` (and an rng "dropout")
    embeddings and both residual branches are dropped out. GPT-2 also drops attention weights, which
    fused attention kernels cannot; that is left out.

    Attributes:
        vocab_size: rows of the token table `wte`, which is kept for export and takes no part.
        n_positions: how many positions there are.
        n_embd: width of the states.
        n_layer: blocks.
        n_head: heads of width n_embd / n_head.
        n_inner: width inside the MLPs; 4 n_embd where None.
        epsilon: of the layer norms.
        dropout: rate in training.
        dtype: compute type.
    """

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    epsilon: float = 1e-5
    dropout: float = 0.1
    dtype: Dtype = jnp.float32

    def setup(self) -> None:
        """Makes the submodules; list entries are named `h_0`, `h_1`, ..."""
        table = partial(nn.Embed, features=self.n_embd, embedding_init=nn.initializers.normal(0.02))
        self.wte = table(self.vocab_size)
        self.wpe = table(self.n_positions)
        self.drop = nn.Dropout(self.dropout)
        self.h = [
            Block(
                self.n_head,
                self.n_inner or 4 * self.n_embd,
                self.epsilon,
                0.02 / (2 * self.n_layer) ** 0.5,
                self.dropout,
                self.dtype,
            )
            for _ in range(self.n_layer)
        ]
        self.ln_f = LayerNorm(self.epsilon, self.dtype)

    def __call__(
        self,
        inputs_embeds: Float[Array, "batch length {self.n_embd}"],
        *,
        mask: Bool[Array, "batch length"] | None = None,
        position_ids: Int[Array, "batch length"] | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "batch length {self.n_embd}"]:
        """The states after `ln_f`.

        Args:
            inputs_embeds: what stands at each column; positions are added here.
            mask: True where a column may be attended to by itself and those after it; all where
                None. The states at False columns mean nothing.
            position_ids: of each column, in 0 .. n_positions - 1 (any other gives NaN);
                0, 1, 2, ... where None.
            deterministic: False in training, for dropout.

        Raises:
            ValueError: more columns than positions.
        """
        return self._forward(inputs_embeds, mask, position_ids, deterministic)[0]

    def prefill(
        self,
        inputs_embeds: Float[Array, "batch length {self.n_embd}"],
        mask: Bool[Array, "batch length"] | None,
        position_ids: Int[Array, "batch length"] | None,
        cache_length: int,
    ) -> tuple[Float[Array, "batch length {self.n_embd}"], Cache]:
        """`__call__`, and a cache with room for `cache_length` columns in all.

        The next token's position in each row is one more than the last column's.

        Raises:
            ValueError: more columns than positions or than `cache_length`.
        """
        batch, length, _ = inputs_embeds.shape
        room = cache_length - length
        if room < 0:
            raise ValueError(f"a cache of {cache_length} columns cannot hold the {length} given")
        hidden, layers = self._forward(inputs_embeds, mask, position_ids, deterministic=True)
        mask = jnp.ones((batch, length), bool) if mask is None else mask
        last = jnp.full((batch,), length - 1) if position_ids is None else position_ids[:, -1]
        extend = partial(jnp.pad, pad_width=((0, 0), (0, room), (0, 0), (0, 0)))
        return hidden, Cache(
            layers=tuple((extend(key), extend(value)) for key, value in layers),
            mask=jnp.pad(mask, ((0, 0), (0, room))),
            position=last + 1,
            column=jnp.asarray(length),
        )

    def decode_step(
        self, inputs_embeds: Float[Array, "batch 1 {self.n_embd}"], cache: Cache
    ) -> tuple[Float[Array, "batch 1 {self.n_embd}"], Cache]:
        """The states of one more token a row, and the cache with it.

        A step beyond the cache's room overwrites its last column: the caller counts.
        """
        mask = cache.mask.at[:, cache.column].set(True)
        x = self._embed(inputs_embeds, cache.position[:, None])
        layers = []
        for block, past in zip(self.h, cache.layers, strict=True):
            x, present = block(x, mask=mask[:, None, None, :], past=(past, cache.column))
            layers.append(present)
        return self.ln_f(x), Cache(tuple(layers), mask, cache.position + 1, cache.column + 1)

    def _forward(
        self,
        inputs_embeds: Float[Array, "batch length d"],
        mask: Bool[Array, "batch length"] | None,
        position_ids: Int[Array, "batch length"] | None,
        deterministic: bool,
    ) -> tuple[Float[Array, "batch length d"], list[KeyValue]]:
        length = inputs_embeds.shape[1]
        if length > self.n_positions:
            raise ValueError(f"{length} columns, but GPT-2 has {self.n_positions} positions")
        if self.is_initializing():
            self.wte(jnp.zeros((1,), jnp.int32))  # else Linen would not make its parameter
        if position_ids is None:
            position_ids = jnp.arange(length)[None, :]
        x = self.drop(self._embed(inputs_embeds, position_ids), deterministic=deterministic)
        attends = jnp.tril(jnp.ones((length, length), bool))[None, None]
        if mask is not None:
            attends = attends & mask[:, None, None, :]
        layers = []
        for block in self.h:
            x, present = block(x, mask=attends, deterministic=deterministic)
            layers.append(present)
        return self.ln_f(x), layers

    def _embed(
        self,
        inputs_embeds: Float[Array, "batch length d"],
        position_ids: Int[Array, "#batch length"],
    ) -> Float[Array, "batch length d"]:
        return inputs_embeds.astype(self.dtype) + self.wpe(position_ids).astype(self.dtype)
