"""The two transformer blocks of AudioMAE.

`Block` is the pre-norm block of a ViT (Dosovitskiy et al., arXiv 2010.11929): the encoder's and the
"vit" decoder's. `SwinBlock` is the "swin" decoder's: attention in windows that every other block
shifts (Liu et al., arXiv 2103.14030), with the norms after the branches, the cosine scores and the
continuous position bias of Swin V2 (Liu et al., arXiv 2111.09883). As in timm's early port of the
latter, the bias is not squashed and its offsets are not normalised.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from ldm_jax.models.attention import attend
from ldm_jax.models.layers import Dense, Dtype, LayerNorm, upcast

NORM_EPSILON = 1e-6
META_HIDDEN = 384  # hidden units of the network behind the position bias
META_DROPOUT = 0.1  # on its hidden units and on its outputs
MIN_TEMPERATURE = 0.01
ACROSS_SEAM = -100.0  # score of a pair that only the cyclic shift made neighbours

Pair = tuple[int, int]
gelu = functools.partial(nn.gelu, approximate=False)


def dense(features: int, *, dtype: Dtype, name: str | None = None) -> Dense:
    """A linear layer, initialised as the whole network is, by Xavier's uniform distribution."""
    xavier = nn.initializers.xavier_uniform()
    return Dense(features, dtype=dtype, kernel_init=xavier, name=name)


class Mlp(nn.Module):
    """fc2(activation(fc1(x))), with dropout after both when training."""

    hidden: int
    features: int
    activation: Callable[[Array], Array] = gelu
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Shaped[Array, "*batch c"], *, deterministic: bool = True
    ) -> Shaped[Array, "*batch features"]:
        """The new channels. Training (`deterministic=False`) needs the rng "dropout"."""
        drop = nn.Dropout(self.dropout, deterministic=deterministic)
        x = drop(self.activation(dense(self.hidden, dtype=self.dtype, name="fc1")(x)))
        return drop(dense(self.features, dtype=self.dtype, name="fc2")(x))


class Attention(nn.Module):
    """Multi-head self-attention; one matrix `qkv` makes queries, keys and values, in that order."""

    heads: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Shaped[Array, "batch tokens c"]) -> Shaped[Array, "batch tokens c"]:
        """The attended tokens."""
        qkv = dense(3 * x.shape[-1], dtype=self.dtype, name="qkv")(x)
        attended = attend(*_split_heads(qkv, self.heads)).reshape(x.shape)
        return dense(x.shape[-1], dtype=self.dtype, name="proj")(attended)


class Block(nn.Module):
    """x += attn(norm1(x)); x += mlp(norm2(x)).

    Attributes:
        heads: of the attention.
        mlp_ratio: hidden units of the MLP for each channel.
        dtype: compute type.
    """

    heads: int
    mlp_ratio: int = 4
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Shaped[Array, "batch tokens c"]) -> Shaped[Array, "batch tokens c"]:
        """The tokens after one block."""
        c = x.shape[-1]
        norm = functools.partial(LayerNorm, NORM_EPSILON, self.dtype)
        x = x + Attention(self.heads, self.dtype, name="attn")(norm(name="norm1")(x))
        return x + Mlp(self.mlp_ratio * c, c, dtype=self.dtype, name="mlp")(norm(name="norm2")(x))


class WindowAttention(nn.Module):
    """softmax(q.k / (|q| |k| tau) + bias + mask) v within each window; a `tau` >= 0.01 each head.

    bias = meta_mlp(sign(d) ln(1 + |d|)), where d is the place of the query minus that of the key,
    in time and in frequency. Scores reach 100 in size, hence all of this is in at least float32.
    """

    heads: int
    window: Pair
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Shaped[Array, "batch windows tokens c"],
        mask: Float[np.ndarray, "windows 1 tokens tokens"] | None,
        *,
        deterministic: bool = True,
    ) -> Shaped[Array, "batch windows tokens c"]:
        """The attended tokens; `mask` is added to the scores."""
        qkv = dense(3 * x.shape[-1], dtype=self.dtype, name="qkv")(x)
        query, key, value = _split_heads(upcast(qkv), self.heads)
        tau = self.param("tau", nn.initializers.ones, (self.heads,)).astype(query.dtype)
        query = _unit(query) / jnp.maximum(tau, MIN_TEMPERATURE)[None, None, None, :, None]
        meta = Mlp(META_HIDDEN, self.heads, nn.relu, META_DROPOUT, query.dtype, name="meta_mlp")
        offsets = jnp.asarray(relative_offsets(self.window), query.dtype)
        bias = meta(offsets, deterministic=deterministic).transpose(2, 0, 1)[None]
        if mask is not None:
            bias = bias + jnp.asarray(mask, bias.dtype)  # (windows, heads, tokens, tokens)
        in_windows = jax.vmap(functools.partial(attend, bias=bias, scale=1.0))
        attended = in_windows(query, _unit(key), value).reshape(x.shape)
        return dense(x.shape[-1], dtype=self.dtype, name="proj")(attended.astype(self.dtype))


class SwinBlock(nn.Module):
    """x += norm1(attention within shifted windows of x); x += norm2(mlp(x)).

    Attributes:
        heads: of the attention.
        grid: patches in time and in frequency; the tokens are its rows, one after the other.
        window: the same of a window; an axis no longer than that is one window.
        shift: how far the windows are moved, cyclically; an axis of one window stays.
        mlp_ratio: hidden units of the MLP for each channel.
        dtype: compute type.
    """

    heads: int
    grid: Pair
    window: Pair = (4, 4)
    shift: Pair = (0, 0)
    mlp_ratio: int = 4
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Shaped[Array, "batch tokens c"], *, deterministic: bool = True
    ) -> Shaped[Array, "batch tokens c"]:
        """The tokens after one block. Training (`deterministic=False`) needs the rng "dropout"."""
        batch, tokens, c = x.shape
        rows, columns = self.grid
        high, wide = min(rows, self.window[0]), min(columns, self.window[1])
        if rows % high or columns % wide:
            raise ValueError(f"windows of {high} x {wide} do not tile {rows} x {columns} patches")
        down = self.shift[0] if rows > high else 0
        right = self.shift[1] if columns > wide else 0
        y = jnp.roll(x.reshape(batch, rows, columns, c), (-down, -right), axis=(1, 2))
        y = y.reshape(batch, rows // high, high, columns // wide, wide, c).swapaxes(2, 3)
        y = WindowAttention(self.heads, (high, wide), self.dtype, name="attn")(
            y.reshape(batch, -1, high * wide, c),
            seam_mask(self.grid, (high, wide), (down, right)) if down or right else None,
            deterministic=deterministic,
        )
        y = y.reshape(batch, rows // high, columns // wide, high, wide, c).swapaxes(2, 3)
        y = jnp.roll(y.reshape(batch, rows, columns, c), (down, right), axis=(1, 2))
        norm = functools.partial(LayerNorm, NORM_EPSILON, self.dtype)
        x = x + norm(name="norm1")(y.reshape(batch, tokens, c))
        return x + norm(name="norm2")(Mlp(self.mlp_ratio * c, c, dtype=self.dtype, name="mlp")(x))


def relative_offsets(window: Pair) -> Float[np.ndarray, "tokens tokens 2"]:
    """sign(d) ln(1 + |d|), d = (time, frequency) of query i minus that of key j, at [i, j]."""
    places = np.indices(window).reshape(2, -1).T
    offsets = places[:, None, :] - places[None, :, :]
    return np.sign(offsets) * np.log1p(np.abs(offsets))


def seam_mask(
    grid: Pair, window: Pair, shift: Pair
) -> Float[np.ndarray, "windows 1 tokens tokens"]:
    """-100 between tokens that only the cyclic shift brought into one window, else 0."""
    (rows, columns), (high, wide) = grid, window
    below, beside = np.arange(rows) >= rows - shift[0], np.arange(columns) >= columns - shift[1]
    side = 2 * below[:, None] + beside[None, :]  # which side of the seam, in each direction
    side = side.reshape(rows // high, high, columns // wide, wide).swapaxes(1, 2)
    side = side.reshape(-1, high * wide)
    return np.where(side[:, :, None] != side[:, None, :], ACROSS_SEAM, 0.0)[:, None]


def _split_heads(
    qkv: Shaped[Array, "*batch tokens channels"], heads: int
) -> tuple[Shaped[Array, "*batch tokens heads dim"], ...]:
    split = qkv.reshape(*qkv.shape[:-1], 3, heads, -1)
    return split[..., 0, :, :], split[..., 1, :, :], split[..., 2, :, :]


def _unit(x: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
    """The vector x / |x|, with a finite gradient at 0."""
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-12))
