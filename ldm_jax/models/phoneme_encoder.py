"""The text encoder of VITS (Kim et al., arXiv 2106.06103, appendix A), which reads phonemes.

A post-norm transformer whose attention knows positions only as distances within a window (Shaw et
al., arXiv 1803.02155) and whose feed-forward layers are convolutions over time. AudioLDM 2 takes
the last hidden states and leaves VITS' projection to a prior; the positions it learns on top of
them belong to the translator. Parameter paths mirror the keys of `transformers.VitsModel` below
"text_encoder.".
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ldm_jax.models.layers import Conv, Dense, Dtype, LayerNorm, upcast


class RelativeAttention(nn.Module):
    """Self-attention with embeddings of the distance r = j - i for |r| <= window_size, else zero.

    score_ij = (q_i . (k_j + K_r)) / sqrt(dim), out_i = sum_j softmax_j(score_ij) (v_j + V_r); all
    heads share K and V. The term with V needs the softmax itself, which `attend` does not give.
    """

    num_heads: int
    window_size: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length c"], mask: Bool[Array, "batch length"]
    ) -> Float[Array, "batch length c"]:
        """Attention from every position to those with a True mask."""
        length, channels = x.shape[1:]
        dim = channels // self.num_heads
        shape = (1, 2 * self.window_size + 1, dim)
        near_key, near_value = (
            self.param(name, nn.initializers.normal(dim**-0.5), shape)[0].astype(self.dtype)
            for name in ("emb_rel_k", "emb_rel_v")
        )
        query, key, value = (
            Dense(channels, dtype=self.dtype, name=name)(x).reshape(*x.shape[:2], -1, dim)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        query = query * dim**-0.5
        position = jnp.arange(length)
        offset = position[None, :] - position[:, None] + self.window_size
        near = jax.nn.one_hot(offset, shape[1], dtype=self.dtype)  # [i, j, r]; zeros if j is far

        scores = jnp.einsum("bihd,bjhd->bhij", query, key)
        by_offset = jnp.einsum("bihd,rd->bhir", query, near_key)
        scores = upcast(scores + jnp.einsum("bhir,ijr->bhij", by_offset, near))
        masked = jnp.finfo(scores.dtype).min / 2
        weights = jax.nn.softmax(jnp.where(mask[:, None, None, :], scores, masked), axis=-1)
        weights = weights.astype(self.dtype)
        out = jnp.einsum("bhij,bjhd->bihd", weights, value)
        by_offset = jnp.einsum("bhij,ijr->bihr", weights, near)
        out = out + jnp.einsum("bihr,rd->bihd", by_offset, near_value)
        return Dense(channels, dtype=self.dtype, name="out_proj")(out.reshape(x.shape))


class FeedForward(nn.Module):
    """conv_2(relu(conv_1(x))) over time, with zeros wherever the mask is False."""

    ffn_dim: int
    kernel_size: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length c"], mask: Bool[Array, "batch length 1"]
    ) -> Float[Array, "batch length c"]:
        """Each position and its neighbours."""
        conv = partial(Conv, kernel_size=(self.kernel_size,), padding="SAME", dtype=self.dtype)
        hidden = nn.relu(conv(self.ffn_dim, name="conv_1")(x * mask))
        return conv(x.shape[-1], name="conv_2")(hidden * mask) * mask


class Layer(nn.Module):
    """x = layer_norm(x + attention(x)), then final_layer_norm(x + feed_forward(x))."""

    num_heads: int
    ffn_dim: int
    kernel_size: int
    window_size: int
    epsilon: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length c"], mask: Bool[Array, "batch length"]
    ) -> Float[Array, "batch length c"]:
        """One layer's states from the last one's."""
        attention = RelativeAttention(
            self.num_heads, self.window_size, self.dtype, name="attention"
        )
        x = LayerNorm(self.epsilon, self.dtype, name="layer_norm")(x + attention(x, mask))
        feed_forward = FeedForward(self.ffn_dim, self.kernel_size, self.dtype, name="feed_forward")
        x = x + feed_forward(x, mask[..., None])
        return LayerNorm(self.epsilon, self.dtype, name="final_layer_norm")(x)


class Encoder(nn.Module):
    """`num_layers` layers, made by `layer`."""

    num_layers: int
    layer: Callable[..., Layer]

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length c"], mask: Bool[Array, "batch length"]
    ) -> Float[Array, "batch length c"]:
        """The states after the last layer."""
        for i in range(self.num_layers):
            x = self.layer(name=f"layers_{i}")(x, mask)
        return x


class PhonemeEncoder(nn.Module):
    """Phoneme ids to hidden states. The defaults are `text_encoder_2` of AudioLDM 2 for speech.

    Attributes:
        vocab_size: rows of the symbol table.
        hidden_size: width of the states.
        num_layers: transformer layers.
        num_heads: of each layer; they divide `hidden_size`.
        ffn_dim: width inside the feed-forward layers.
        kernel_size: of their convolutions.
        window_size: the largest distance with an embedding of its own.
        epsilon: of the layer norms.
        dtype: compute type.
    """

    vocab_size: int = 183
    hidden_size: int = 192
    num_layers: int = 6
    num_heads: int = 2
    ffn_dim: int = 768
    kernel_size: int = 3
    window_size: int = 4
    epsilon: float = 1e-5
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, token_ids: Int[Array, "batch length"], mask: Bool[Array, "batch length"]
    ) -> Float[Array, "batch length {self.hidden_size}"]:
        """The states after the last layer, zeros where the mask is False.

        Args:
            token_ids: in 0 .. vocab_size - 1; any other gives NaN.
            mask: True at phonemes. What stands at False positions, and how many of them follow,
                changes nothing at True ones.
        """
        embed_tokens = nn.Embed(
            self.vocab_size,
            self.hidden_size,
            embedding_init=nn.initializers.normal(self.hidden_size**-0.5),
            dtype=self.dtype,
            name="embed_tokens",
        )
        layer = partial(
            Layer,
            self.num_heads,
            self.ffn_dim,
            self.kernel_size,
            self.window_size,
            self.epsilon,
            self.dtype,
        )
        x = embed_tokens(token_ids) * self.hidden_size**0.5 * mask[..., None]
        return Encoder(self.num_layers, layer, name="encoder")(x, mask) * mask[..., None]
