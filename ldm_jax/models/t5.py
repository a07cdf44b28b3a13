"""The encoder of T5 (Raffel et al., arXiv 1910.10683, section 2.1), as in FLAN-T5.

A pre-norm transformer with RMS norms and no biases in its layers. In place of position embeddings
it learns one number for each head and each bucket of distances, which every block adds to its
attention scores. Parameter paths mirror the keys of `transformers.T5EncoderModel`, except that this
table lies beside the blocks that share it and not within block 0.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ldm_jax.models.attention import attend
from ldm_jax.models.layers import Dense, Dtype, upcast

ACTIVATIONS = {  # of the feed-forward layers, by the published `feed_forward_proj`
    "gated-gelu": partial(nn.gelu, approximate=True),  # tanh, whatever the name says
    "relu": nn.relu,
}


def relative_position_bucket(
    offset: Int[np.ndarray, "..."], *, num_buckets: int, max_distance: int
) -> Int[np.ndarray, "..."]:
    """The bucket of each `offset` = key position - query position.

    Each direction has H = num_buckets / 2 buckets, the first E = H / 2 for the distances up to
    E - 1. From there bucket E + k starts at the first distance n with
    log(n / E) / log(max_distance / E) >= k / (H - E), and the last has no end. Powers of whole
    numbers find these starts, so that no rounding of a logarithm moves one.
    """
    half = num_buckets // 2
    exact = half // 2
    wide = half - exact
    starts = list(range(1, exact + 1))
    for k in range(1, wide):
        bound = exact ** (wide - k) * max_distance**k
        starts.append(next(n for n in range(exact, max_distance + 1) if n**wide >= bound))
    bucket = np.searchsorted(np.asarray(starts), np.abs(offset), side="right")
    return np.where(offset > 0, bucket + half, bucket)


class RMSNorm(nn.Module):
    """scale * x / sqrt(mean(x^2) + epsilon) over the last axis, the mean in at least float32."""

    epsilon: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch length c"]) -> Float[Array, "batch length c"]:
        """The normed states, in the compute type."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        wide = upcast(x)
        mean_square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
        normed = (wide * jax.lax.rsqrt(mean_square + self.epsilon)).astype(self.dtype)
        return normed * scale.astype(self.dtype)[None, None, :]


class RelativePositionBias(nn.Module):
    """`embedding` (num_buckets, num_heads), looked up for every pair of positions."""

    num_heads: int
    num_buckets: int
    max_distance: int

    @nn.compact
    def __call__(self, length: int) -> Float[Array, "1 heads {length} {length}"]:
        """The biases of `length` queries and as many keys."""
        shape = (self.num_buckets, self.num_heads)
        embedding = self.param("embedding", nn.initializers.normal(1.0), shape)
        position = np.arange(length)
        bucket = relative_position_bucket(
            position[None, :] - position[:, None],
            num_buckets=self.num_buckets,
            max_distance=self.max_distance,
        )
        return embedding[bucket].transpose(2, 0, 1)[None]


class SelfAttention(nn.Module):
    """softmax(q k^T + bias) v; T5 does not scale the scores but its initial weights."""

    num_heads: int
    d_kv: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch length d_model"],
        mask: Bool[Array, "batch 1 1 length"],
        bias: Float[Array, "1 heads length length"],
    ) -> Float[Array, "batch length d_model"]:
        """Attention from every position to those with a True mask."""
        dense = partial(Dense, use_bias=False, dtype=self.dtype)
        heads = (*x.shape[:2], self.num_heads, self.d_kv)
        query, key, value = (
            dense(self.num_heads * self.d_kv, name=name)(x).reshape(heads) for name in "qkv"
        )
        out = attend(query, key, value, mask=mask, bias=bias, scale=1.0)
        return dense(x.shape[-1], name="o")(out.reshape(*x.shape[:2], -1))


class FeedForward(nn.Module):
    """wo(act(wi_0 x) * wi_1 x) where gated, else wo(act(wi x))."""

    d_ff: int
    kind: str
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length d_model"]
    ) -> Float[Array, "batch length d_model"]:
        """Each position by itself."""
        dense = partial(Dense, use_bias=False, dtype=self.dtype)
        act = ACTIVATIONS[self.kind]
        if self.kind.startswith("gated-"):
            hidden = act(dense(self.d_ff, name="wi_0")(x)) * dense(self.d_ff, name="wi_1")(x)
        else:
            hidden = act(dense(self.d_ff, name="wi")(x))
        return dense(x.shape[-1], name="wo")(hidden)


class PreNorm(nn.Module):
    """x + inner(layer_norm(x), ...).

    `inner` makes its module when called, here, so that its parameters lie below this one's path.
    """

    inner: Callable[[], nn.Module]
    epsilon: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length d_model"], *args: Array
    ) -> Float[Array, "batch length d_model"]:
        """`args` go on to the inner module."""
        normed = RMSNorm(self.epsilon, self.dtype, name="layer_norm")(x)
        return x + self.inner()(normed, *args)


class Block(nn.Module):
    """`layer_0` attends, `layer_1` feeds forward."""

    attention: Callable[[], nn.Module]
    feed_forward: Callable[[], nn.Module]
    epsilon: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch length d_model"],
        mask: Bool[Array, "batch 1 1 length"],
        bias: Float[Array, "1 heads length length"],
    ) -> Float[Array, "batch length d_model"]:
        """One block's states from the last one's."""
        x = PreNorm(self.attention, self.epsilon, self.dtype, name="layer_0")(x, mask, bias)
        return PreNorm(self.feed_forward, self.epsilon, self.dtype, name="layer_1")(x)


class Stack(nn.Module):
    """The blocks, one bias for all of them, and the norm at the end."""

    num_layers: int
    block: Callable[..., Block]
    bias: Callable[[], RelativePositionBias]
    epsilon: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length d_model"], mask: Bool[Array, "batch length"]
    ) -> Float[Array, "batch length d_model"]:
        """Hidden states from token embeddings."""
        bias = self.bias()(x.shape[1])
        for i in range(self.num_layers):
            x = self.block(name=f"block_{i}")(x, mask[:, None, None, :], bias)
        return RMSNorm(self.epsilon, self.dtype, name="final_layer_norm")(x)


class T5Encoder(nn.Module):
    """Token ids to hidden states. The defaults are FLAN-T5-large, AudioLDM 2's `text_encoder_2`.

    Attributes:
        vocab_size: rows of the token table.
        d_model: width of the states.
        d_kv: width of a head; num_heads * d_kv need not be d_model.
        d_ff: width inside the feed-forward layers.
        num_layers: blocks.
        num_heads: of each block.
        num_buckets: classes of distance with a bias of their own, half of them for each direction.
        max_distance: from which on all distances share a bucket.
        feed_forward: a key of ACTIVATIONS.
        epsilon: of the RMS norms.
        dtype: compute type.
    """

    vocab_size: int = 32128
    d_model: int = 1024
    d_kv: int = 64
    d_ff: int = 2816
    num_layers: int = 24
    num_heads: int = 16
    num_buckets: int = 32
    max_distance: int = 128
    feed_forward: str = "gated-gelu"
    epsilon: float = 1e-6
    dtype: Dtype = jnp.float32

    @property
    def token_table(self) -> str:
        """The path of the parameter that token ids index."""
        return "shared/embedding"

    @nn.compact
    def __call__(
        self, token_ids: Int[Array, "batch length"], mask: Bool[Array, "batch length"]
    ) -> Float[Array, "batch length {self.d_model}"]:
        """The states after the final norm.

        Args:
            token_ids: in 0 .. vocab_size - 1; any other gives NaN.
            mask: True where a token may be attended to. What stands at False positions, and how
                many of them follow, changes nothing at True ones; the states at False positions
                mean nothing.
        """
        norm = {"epsilon": self.epsilon, "dtype": self.dtype}
        block = partial(
            Block,
            attention=partial(
                SelfAttention, self.num_heads, self.d_kv, self.dtype, name="SelfAttention"
            ),
            feed_forward=partial(
                FeedForward, self.d_ff, self.feed_forward, self.dtype, name="DenseReluDense"
            ),
            **norm,
        )
        bias = partial(
            RelativePositionBias,
            self.num_heads,
            self.num_buckets,
            self.max_distance,
            name="relative_attention_bias",
        )
        shared = nn.Embed(
            self.vocab_size, self.d_model, embedding_init=nn.initializers.normal(1.0), name="shared"
        )
        x = shared(token_ids).astype(self.dtype)  # looked up first: the table is too large to cast
        return Stack(self.num_layers, block, bias, **norm, name="encoder")(x, mask)
