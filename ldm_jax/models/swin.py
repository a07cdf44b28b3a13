"""Stages of a Swin transformer (Liu et al., arXiv 2103.14030) on square images.

Attention stays within windows. In every other block the image is first rolled by half a window, so
that neighbouring windows meet. Between stages 2 x 2 places merge into one of twice the width.
Parameter paths mirror the keys of `transformers`' Swin models, CLAP's among them.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from ldm_jax.models.attention import attend
from ldm_jax.models.layers import Dense, Dtype, LayerNorm
from ldm_jax.models.roberta import Intermediate

_MERGE_EPSILON = 1e-5  # of the norm between stages, whatever the blocks use


def to_windows(
    x: Shaped[Array, "batch size size c"], window: int
) -> Shaped[Array, "batch windows tokens c"]:
    """An image cut into squares of window^2 places, row by row, each flattened row by row."""
    batch, size, _, c = x.shape
    across = size // window
    x = x.reshape(batch, across, window, across, window, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, across**2, window**2, c)


def from_windows(
    x: Shaped[Array, "batch windows tokens c"], window: int
) -> Shaped[Array, "batch size size c"]:
    """The inverse of `to_windows`."""
    batch, count, _, c = x.shape
    across = round(count**0.5)
    x = x.reshape(batch, across, across, window, window, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, across * window, across * window, c)


@functools.cache
def relative_position_index(window: int) -> Int[np.ndarray, "tokens tokens"]:
    """The row of the bias table for each (query, key) in a window, which their offset gives."""
    axis = np.arange(window, dtype=np.int32)
    places = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    offset = places[:, None] - places[None, :] + (window - 1)
    return offset[..., 0] * (2 * window - 1) + offset[..., 1]


@functools.cache
def shift_bias(size: int, window: int, shift: int) -> Float[np.ndarray, "windows tokens tokens"]:
    """0 between places of a window that were as near before the image was rolled, else -100."""
    band = np.digitize(np.arange(size), [size - window, size - shift])
    across = size // window
    regions = (3 * band[:, None] + band[None, :]).reshape(across, window, across, window)
    regions = regions.swapaxes(1, 2).reshape(across**2, window**2)
    return np.where(regions[:, :, None] == regions[:, None, :], 0.0, -100.0)


class SelfAttention(nn.Module):
    """Multi-head attention within each window, with a learnt bias for each head and offset."""

    num_heads: int
    window: int
    qkv_bias: bool
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch windows tokens c"],
        extra_bias: Float[np.ndarray, "windows tokens tokens"] | None,
    ) -> Float[Array, "batch windows tokens c"]:
        """Each window by itself; `extra_bias` is added to the scores of all heads."""
        batch, count, tokens, c = x.shape
        query, key, value = (
            Dense(c, use_bias=self.qkv_bias, dtype=self.dtype, name=name)(x).reshape(
                batch * count, tokens, self.num_heads, -1
            )
            for name in ("query", "key", "value")
        )
        table = self.param(
            "relative_position_bias_table",
            nn.initializers.truncated_normal(0.02),
            ((2 * self.window - 1) ** 2, self.num_heads),
        )
        bias = table[relative_position_index(self.window)].transpose(2, 0, 1)[None]
        if extra_bias is not None:
            bias = bias + jnp.asarray(extra_bias, bias.dtype)[:, None]
            bias = jnp.broadcast_to(bias[None], (batch, *bias.shape))
            bias = bias.reshape(batch * count, *bias.shape[2:])
        return attend(query, key, value, bias=bias).reshape(x.shape)


class Output(nn.Module):
    """A dense layer under the name `dense`."""

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch features"]:
        """Each place by itself."""
        return Dense(self.features, dtype=self.dtype, name="dense")(x)


class Attention(nn.Module):
    """Attention within windows and its output projection."""

    num_heads: int
    window: int
    qkv_bias: bool
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch windows tokens c"],
        extra_bias: Float[np.ndarray, "windows tokens tokens"] | None,
    ) -> Float[Array, "batch windows tokens c"]:
        """Each window by itself."""
        attended = SelfAttention(
            self.num_heads, self.window, self.qkv_bias, self.dtype, name="self"
        )(x, extra_bias)
        return Output(x.shape[-1], self.dtype, name="output")(attended)


class Block(nn.Module):
    """Attention in windows that lie shifted by `shift` places, then a perceptron."""

    num_heads: int
    window: int
    shift: int
    mlp_ratio: float
    qkv_bias: bool
    epsilon: float
    dtype: Dtype = jnp.float32
    drop_path: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch size size c"], *, deterministic: bool = True
    ) -> Float[Array, "batch size size c"]:
        """The image after x += attention(norm(x)) and x += perceptron(norm(x)).

        In training each row leaves out either summand with probability `drop_path`, and else has it
        times 1 / (1 - drop_path) (stochastic depth, arXiv 1603.09382); this needs the rng "dropout".
        """
        size, c = x.shape[-2:]
        drop = nn.Dropout(self.drop_path, broadcast_dims=(1, 2, 3), deterministic=deterministic)
        normed = LayerNorm(self.epsilon, self.dtype, name="layernorm_before")(x)
        extra_bias = None
        if self.shift:
            normed = jnp.roll(normed, (-self.shift, -self.shift), axis=(1, 2))
            extra_bias = shift_bias(size, self.window, self.shift)
        attention = Attention(
            self.num_heads, self.window, self.qkv_bias, self.dtype, name="attention"
        )
        attended = from_windows(attention(to_windows(normed, self.window), extra_bias), self.window)
        if self.shift:
            attended = jnp.roll(attended, (self.shift, self.shift), axis=(1, 2))
        x = x + drop(attended)
        normed = LayerNorm(self.epsilon, self.dtype, name="layernorm_after")(x)
        wide = Intermediate(int(self.mlp_ratio * c), self.dtype, name="intermediate")(normed)
        return x + drop(Output(c, self.dtype, name="output")(wide))


class PatchMerging(nn.Module):
    """reduction(LayerNorm(places (0,0), (1,0), (0,1), (1,1) of each 2 x 2 side by side))."""

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch size size c"]) -> Float[Array, "batch half half c2"]:
        """An image of half the size and twice the width."""
        batch, size, _, c = x.shape
        x = x.reshape(batch, size // 2, 2, size // 2, 2, c)
        x = x.transpose(0, 1, 3, 4, 2, 5).reshape(batch, size // 2, size // 2, 4 * c)
        x = LayerNorm(_MERGE_EPSILON, self.dtype, name="norm")(x)
        return Dense(2 * c, use_bias=False, dtype=self.dtype, name="reduction")(x)


class Stage(nn.Module):
    """`depth` blocks, every other one shifted unless one window is the image; then merging."""

    depth: int
    num_heads: int
    window: int
    mlp_ratio: float
    qkv_bias: bool
    epsilon: float
    merge: bool
    dtype: Dtype = jnp.float32
    drop_paths: tuple[float, ...] = ()  # of the blocks; none where empty

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch size size c"], *, deterministic: bool = True
    ) -> Float[Array, "batch out_size out_size out_c"]:
        """The image for the next stage."""
        for i in range(self.depth):
            shifted = i % 2 == 1 and x.shape[1] > self.window
            x = Block(
                self.num_heads,
                self.window,
                self.window // 2 if shifted else 0,
                self.mlp_ratio,
                self.qkv_bias,
                self.epsilon,
                self.dtype,
                self.drop_paths[i] if self.drop_paths else 0.0,
                name=f"blocks_{i}",
            )(x, deterministic=deterministic)
        return PatchMerging(self.dtype, name="downsample")(x) if self.merge else x
