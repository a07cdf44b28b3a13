"""RoBERTa (Liu et al., arXiv 1907.11692), CLAP's text tower: token ids in, hidden states and a pooled vector out.

A post-norm transformer: each sublayer's output is added to its input and the sum is normalised. Parameter paths
mirror the keys of `transformers.ClapTextModel`, which are those of BERT.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ldm_jax.models.attention import attend
from ldm_jax.models.layers import Dense, Dtype, LayerNorm


class Embeddings(nn.Module):
    """LayerNorm(word + position + type 0).

    Positions count the real tokens from `pad_token_id + 1` on, and every padding has the position `pad_token_id`: a
    quirk of fairseq, where the rows up to the padding's are never trained.
    """

    vocab_size: int
    hidden_size: int
    max_position_embeddings: int
    type_vocab_size: int
    pad_token_id: int
    layer_norm_eps: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, token_ids: Int[Array, "batch length"], mask: Bool[Array, "batch length"]
    ) -> Float[Array, "batch length hidden"]:
        def embed(rows: int, name: str) -> nn.Embed:
            return nn.Embed(rows, self.hidden_size, dtype=self.dtype, name=name)

        positions = jnp.cumsum(mask, axis=1) * mask + self.pad_token_id
        x = embed(self.vocab_size, "word_embeddings")(token_ids)
        x = x + embed(self.type_vocab_size, "token_type_embeddings")(jnp.zeros_like(token_ids))
        x = x + embed(self.max_position_embeddings, "position_embeddings")(positions)
        return LayerNorm(self.layer_norm_eps, self.dtype, name="LayerNorm")(x)


class SelfAttention(nn.Module):
    """Multi-head attention without its output projection; padding is not attended to."""

    num_heads: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length hidden"], mask: Bool[Array, "batch length"]
    ) -> Float[Array, "batch length hidden"]:
        batch, length, hidden = x.shape
        query, key, value = (
            Dense(hidden, dtype=self.dtype, name=name)(x).reshape(batch, length, self.num_heads, -1)
            for name in ("query", "key", "value")
        )
        return attend(query, key, value, mask=mask[:, None, None, :]).reshape(x.shape)


class AddAndNorm(nn.Module):
    """LayerNorm(residual + dense(x))."""

    epsilon: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length in"], residual: Float[Array, "batch length hidden"]
    ) -> Float[Array, "batch length hidden"]:
        out = Dense(residual.shape[-1], dtype=self.dtype, name="dense")(x)
        return LayerNorm(self.epsilon, self.dtype, name="LayerNorm")(residual + out)


class Attention(nn.Module):
    """LayerNorm(x + W_o attention(x))."""

    num_heads: int
    epsilon: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length hidden"], mask: Bool[Array, "batch length"]
    ) -> Float[Array, "batch length hidden"]:
        attended = SelfAttention(self.num_heads, self.dtype, name="self")(x, mask)
        return AddAndNorm(self.epsilon, self.dtype, name="output")(attended, x)


class Intermediate(nn.Module):
    """gelu(dense(x)), the exact gelu."""

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch features"]:
        return nn.gelu(Dense(self.features, dtype=self.dtype, name="dense")(x), approximate=False)


class Layer(nn.Module):
    """Attention and a two-layer perceptron, each with its residual and norm."""

    num_heads: int
    intermediate_size: int
    epsilon: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length hidden"], mask: Bool[Array, "batch length"]
    ) -> Float[Array, "batch length hidden"]:
        x = Attention(self.num_heads, self.epsilon, self.dtype, name="attention")(x, mask)
        wide = Intermediate(self.intermediate_size, self.dtype, name="intermediate")(x)
        return AddAndNorm(self.epsilon, self.dtype, name="output")(wide, x)


class Encoder(nn.Module):
    """The stack of layers."""

    num_layers: int
    num_heads: int
    intermediate_size: int
    epsilon: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length hidden"], mask: Bool[Array, "batch length"]
    ) -> Float[Array, "batch length hidden"]:
        for i in range(self.num_layers):
            layer = Layer(
                self.num_heads, self.intermediate_size, self.epsilon, self.dtype, name=f"layer_{i}"
            )
            x = layer(x, mask)
        return x


class Pooler(nn.Module):
    """tanh(dense(the first token's state))."""

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch length hidden"]) -> Float[Array, "batch hidden"]:
        return jnp.tanh(Dense(x.shape[-1], dtype=self.dtype, name="dense")(x[:, 0]))


class RoBERTa(nn.Module):
    """The encoder of roberta-base and its pooler.

    Attributes:
        vocab_size: rows of the token table.
        hidden_size: width.
        num_layers: transformer layers.
        num_heads: of each attention; its heads are hidden_size / num_heads wide.
        intermediate_size: width of the perceptrons.
        max_position_embeddings: the longest text plus pad_token_id + 1.
        type_vocab_size: rows of the type table, of which the first alone is used.
        pad_token_id: the token that fills up a batch, and the position it is given.
        layer_norm_eps: of every norm. RoBERTa was trained with 1e-5; `transformers.ClapTextConfig` says 1e-12.
        dtype: compute type.
    """

    vocab_size: int = 50_265
    hidden_size: int = 768
    num_layers: int = 12
    num_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 514
    type_vocab_size: int = 1
    pad_token_id: int = 1
    layer_norm_eps: float = 1e-5
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, token_ids: Int[Array, "batch length"], mask: Bool[Array, "batch length"]
    ) -> tuple[Float[Array, "batch length hidden"], Float[Array, "batch hidden"]]:
        """(states after the last layer, pooled first state).

        Args:
            token_ids: starting with <s>; what they hold where `mask` is False has no effect on the other places.
            mask: True at real tokens.

        Raises:
            ValueError: a text longer than the position table.
        """
        longest = self.max_position_embeddings - self.pad_token_id - 1
        if token_ids.shape[1] > longest:
            raise ValueError(f"{token_ids.shape[1]} tokens, but there are {longest} positions")
        x = Embeddings(
            self.vocab_size,
            self.hidden_size,
            self.max_position_embeddings,
            self.type_vocab_size,
            self.pad_token_id,
            self.layer_norm_eps,
            self.dtype,
            name="embeddings",
        )(token_ids, mask)
        x = Encoder(
            self.num_layers,
            self.num_heads,
            self.intermediate_size,
            self.layer_norm_eps,
            self.dtype,
            name="encoder",
        )(x, mask)
        return x, Pooler(self.dtype, name="pooler")(x)
