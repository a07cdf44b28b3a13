"""RoBERTa (Liu et al., arXiv 1907.11692), CLAP's text tower: token ids in, a pooled vector out.

A post-norm transformer: what a sublayer gives is added to its input, and the sum is normalised.
Parameter paths mirror the keys of `transformers.ClapTextModel`, which are BERT's.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ldm_jax.models.attention import attend
from ldm_jax.models.layers import Dense, Dtype, LayerNorm


class Embeddings(nn.Module):
    """LayerNorm(word + position + type 0).

    Real tokens are counted from position pad_token_id + 1 on, and all padding lies at position
    pad_token_id, as in fairseq, where RoBERTa comes from. At -1 the first token lies at position 0,
    as in BERT, and padding does too.
    """

    vocab_size: int
    hidden_size: int
    max_position_embeddings: int
    type_vocab_size: int
    pad_token_id: int
    epsilon: float
    dtype: Dtype = jnp.float32
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        token_ids: Int[Array, "batch length"],
        mask: Bool[Array, "batch length"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "batch length hidden"]:
        """States before the first layer."""
        positions = jnp.maximum(jnp.cumsum(mask, axis=1) * mask + self.pad_token_id, 0)
        tables = (
            ("word_embeddings", self.vocab_size, token_ids),
            ("token_type_embeddings", self.type_vocab_size, jnp.zeros_like(token_ids)),
            ("position_embeddings", self.max_position_embeddings, positions),
        )
        # looked up before the cast: the table of words is too large to cast
        word, kind, position = (
            nn.Embed(rows, self.hidden_size, name=name)(ids).astype(self.dtype)
            for name, rows, ids in tables
        )
        x = LayerNorm(self.epsilon, self.dtype, name="LayerNorm")(word + kind + position)
        return nn.Dropout(self.dropout)(x, deterministic=deterministic)


class SelfAttention(nn.Module):
    """Multi-head attention without its output projection."""

    num_heads: int
    dtype: Dtype = jnp.float32
    dropout: float = 0.0  # of the probabilities

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch length hidden"],
        mask: Bool[Array, "batch length"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "batch length hidden"]:
        """Attention from every position to those with a True mask."""
        heads = (*x.shape[:2], self.num_heads, x.shape[2] // self.num_heads)
        query, key, value = (
            Dense(x.shape[2], dtype=self.dtype, name=name)(x).reshape(heads)
            for name in ("query", "key", "value")
        )
        drop = None
        if self.dropout and not deterministic:
            drop = nn.Dropout(self.dropout, deterministic=False)
        return attend(query, key, value, mask=mask[:, None, None, :], drop=drop).reshape(x.shape)


class AddAndNorm(nn.Module):
    """LayerNorm(residual + dense(x))."""

    epsilon: float
    dtype: Dtype = jnp.float32
    dropout: float = 0.0  # of dense(x)

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch length in"],
        residual: Float[Array, "batch length hidden"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "batch length hidden"]:
        """The end of a sublayer that gave `x` and started from `residual`."""
        out = Dense(residual.shape[-1], dtype=self.dtype, name="dense")(x)
        out = nn.Dropout(self.dropout)(out, deterministic=deterministic)
        return LayerNorm(self.epsilon, self.dtype, name="LayerNorm")(residual + out)


class Attention(nn.Module):
    """The sublayer that attends."""

    num_heads: int
    epsilon: float
    dtype: Dtype = jnp.float32
    dropout: float = 0.0
    attention_dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch length hidden"],
        mask: Bool[Array, "batch length"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "batch length hidden"]:
        """LayerNorm(x + dense(attention of x))."""
        attention = SelfAttention(self.num_heads, self.dtype, self.attention_dropout, name="self")
        attended = attention(x, mask, deterministic=deterministic)
        add = AddAndNorm(self.epsilon, self.dtype, self.dropout, name="output")
        return add(attended, x, deterministic=deterministic)


class Intermediate(nn.Module):
    """gelu(dense(x)), the exact gelu: the inner half of a perceptron."""

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch features"]:
        """Each position by itself."""
        return nn.gelu(Dense(self.features, dtype=self.dtype, name="dense")(x), approximate=False)


class Layer(nn.Module):
    """Attention, then a perceptron."""

    num_heads: int
    intermediate_size: int
    epsilon: float
    dtype: Dtype = jnp.float32
    dropout: float = 0.0
    attention_dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch length hidden"],
        mask: Bool[Array, "batch length"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "batch length hidden"]:
        """One layer's states from the last one's."""
        settings = (self.epsilon, self.dtype, self.dropout)
        attention = Attention(self.num_heads, *settings, self.attention_dropout, name="attention")
        x = attention(x, mask, deterministic=deterministic)
        wide = Intermediate(self.intermediate_size, self.dtype, name="intermediate")(x)
        return AddAndNorm(*settings, name="output")(wide, x, deterministic=deterministic)


class Encoder(nn.Module):
    """The layers."""

    num_layers: int
    num_heads: int
    intermediate_size: int
    epsilon: float
    dtype: Dtype = jnp.float32
    dropout: float = 0.0
    attention_dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch length hidden"],
        mask: Bool[Array, "batch length"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "batch length hidden"]:
        """States after the last layer."""
        sizes = (self.num_heads, self.intermediate_size, self.epsilon, self.dtype)
        rates = (self.dropout, self.attention_dropout)
        for i in range(self.num_layers):
            x = Layer(*sizes, *rates, name=f"layer_{i}")(x, mask, deterministic=deterministic)
        return x


class Pooler(nn.Module):
    """tanh(dense(state of the first token))."""

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch length hidden"]) -> Float[Array, "batch hidden"]:
        """One vector a text."""
        return jnp.tanh(Dense(x.shape[-1], dtype=self.dtype, name="dense")(x[:, 0]))


class RoBERTa(nn.Module):
    """The encoder and its pooler; the defaults are roberta-base.

    Attributes:
        vocab_size: rows of the token table.
        hidden_size: width of the states.
        num_layers: layers.
        num_heads: of each attention; a head is hidden_size / num_heads wide.
        intermediate_size: width inside the perceptrons.
        max_position_embeddings: rows of the position table, the first pad_token_id + 1 of which
            no text uses.
        type_vocab_size: rows of the type table, of which only the first is used.
        pad_token_id: the token that fills up a batch, and its position.
        layer_norm_eps: of every norm. RoBERTa was trained with 1e-5, and LAION's code runs it so;
            1e-12 is what `transformers.ClapTextConfig` says where a config says nothing.
        dropout: in training, of the embeddings and of what every sublayer gives; RoBERTa's is 0.1.
        attention_dropout: in training, of the attention probabilities; likewise.
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
    dropout: float = 0.0
    attention_dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        token_ids: Int[Array, "batch length"],
        mask: Bool[Array, "batch length"],
        *,
        deterministic: bool = True,
    ) -> tuple[
        Float[Array, "batch length {self.hidden_size}"], Float[Array, "batch {self.hidden_size}"]
    ]:
        """(states after the last layer, pooled vector).

        Args:
            token_ids: in 0 .. vocab_size - 1 and starting with <s>; any other gives NaN.
            mask: True at real tokens. What stands at False positions, and how many of them
                follow, changes nothing elsewhere.
            deterministic: False in training; rates above 0 then need the rng "dropout".

        Raises:
            ValueError: more tokens than positions.
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
            self.dropout,
            name="embeddings",
        )(token_ids, mask, deterministic=deterministic)
        x = Encoder(
            self.num_layers,
            self.num_heads,
            self.intermediate_size,
            self.layer_norm_eps,
            self.dtype,
            self.dropout,
            self.attention_dropout,
            name="encoder",
        )(x, mask, deterministic=deterministic)
        return x, Pooler(self.dtype, name="pooler")(x)
