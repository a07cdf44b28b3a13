"""The two transformer blocks of AudioMAE.

`Block` is the pre-norm block of a ViT (Dosovitskiy et al., arXiv 2010.11929): the encoder and the "vit" decoder.
`SwinBlock` is the "swin" decoder's: attention in windows that every other block shifts (Liu et al., arXiv
2103.14030), with the post-norms, cosine scores and continuous position bias of Swin V2 (arXiv 2111.09883, but
without its 16 sigmoid and its normalised coordinates).
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from ldm_jax.models.attention import attend
from ldm_jax.models.layers import Dtype, LayerNorm, upcast

NORM_EPSILON = 1e-6
META_HIDDEN = 384  # hidden units of the network behind the position bias
META_DROPOUT = 0.1  # on its hidden units and on its outputs
MIN_TEMPERATURE = 0.01
ACROSS_SEAM = -100.0  # score of a pair that only the cyclic shift made neighbours

Pair = tuple[int, int]
gelu = functools.partial(nn.gelu, approximate=False)


def dense(features: int, *, dtype: Dtype, name: str | None = None) -> nn.Dense:
    """A linear layer in the initialisation that the whole network uses, Xavier's uniform."""
    return nn.Dense(features, kernel_init=nn.initializers.xavier_uniform(), dtype=dtype, name=name)


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
        drop = nn.Dropout(self.dropout, deterministic=deterministic)
        x = drop(self.activation(dense(self.hidden, dtype=self.dtype, name="fc1")(x)))
        return drop(dense(self.features, dtype=self.dtype, name="fc2")(x))


class Attention(nn.Module):
    """Multi-head self-attention whose queries, keys and values come from one matrix `qkv` (in that order)."""

    heads: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Shaped[Array, "batch tokens c"]) -> Shaped[Array, "batch tokens c"]:
        query, key, value = _split_heads(
            dense(3 * x.shape[-1], dtype=self.dtype, name="qkv")(x), self.heads
        )
        attended = attend(query, key, value).reshape(x.shape)
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
    """softmax(q.k / (|q||k| tau) + bias + mask) v within each window; one `tau`, at least 0.01, a head.

    bias = meta_mlp(sign(d) ln(1 + |d|)) for the offset d = (time, frequency) from key to query. The scores reach
    100 in size, so everything up to the average of the values is computed in at least float32.
    """

    heads: int
    window: Pair
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Shaped[Array, "batch windows tokens c"],
        mask: Shaped[np.ndarray, "windows 1 tokens tokens"] | None,
        *,
        deterministic: bool = True,
    ) -> Shaped[Array, "batch windows tokens c"]:
        """The attended tokens; `mask` is added to the scores."""
        qkv = dense(3 * x.shape[-1], dtype=self.dtype, name="qkv")(x)
        query, key, value = (upcast(part) for part in _split_heads(qkv, self.heads))
        tau = self.param("tau", nn.initializers.ones, (self.heads,)).astype(query.dtype)
        query = _unit(query) / jnp.maximum(tau, MIN_TEMPERATURE)[None, None, None, :, None]
        offsets = relative_offsets(self.window).astype(query.dtype)
        meta = Mlp(META_HIDDEN, self.heads, nn.relu, META_DROPOUT, query.dtype, name="meta_mlp")
        bias = meta(jnp.asarray(offsets), deterministic=deterministic).transpose(2, 0, 1)[None]
        if mask is not None:
            bias = bias + jnp.asarray(mask, bias.dtype)  # (windows, heads, tokens, tokens)
        windows = functools.partial(attend, bias=bias, scale=1.0)
        attended = jax.vmap(windows)(query, _unit(key), value).reshape(x.shape)
        return dense(x.shape[-1], dtype=self.dtype, name="proj")(attended.astype(self.dtype))


class SwinBlock(nn.Module):
    """x += norm1(attention in shifted windows(x)); x += norm2(mlp(x)), on the tokens of a (time, frequency) grid.

    Attributes:
        heads: of the attention.
        grid: patches in time and in frequency.
        window: the same of a window; an axis no longer than its window is one window.
        shift: by how much the windows are moved, cyclically; axes of one window stay.
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
        window = tuple(min(pair) for pair in zip(self.grid, self.window, strict=True))
        shift = tuple(
            s if g > w else 0 for g, w, s in zip(self.grid, window, self.shift, strict=True)
        )
        (rows, columns), (high, wide) = self.grid, window
        y = jnp.roll(x.reshape(batch, rows, columns, c), (-shift[0], -shift[1]), axis=(1, 2))
        y = y.reshape(batch, rows // high, high, columns // wide, wide, c).swapaxes(2, 3)
        y = WindowAttention(self.heads, window, self.dtype, name="attn")(
            y.reshape(batch, -1, high * wide, c),
            seam_mask(self.grid, window, shift) if any(shift) else None,
            deterministic=deterministic,
        )
        y = y.reshape(batch, rows // high, columns // wide, high, wide, c).swapaxes(2, 3)
        y = jnp.roll(y.reshape(batch, rows, columns, c), shift, axis=(1, 2))
        norm = functools.partial(LayerNorm, NORM_EPSILON, self.dtype)
        x = x + norm(name="norm1")(y.reshape(batch, tokens, c))
        return x + norm(name="norm2")(Mlp(self.mlp_ratio * c, c, dtype=self.dtype, name="mlp")(x))


def relative_offsets(window: Pair) -> Float[np.ndarray, "tokens tokens 2"]:
    """sign(d) ln(1 + |d|) for d = (time, frequency) of query i minus that of key j, at [i, j]."""
    places = np.stack(np.indices(window), axis=-1).reshape(-1, 2)
    offsets = places[:, None, :] - places[None, :, :]
    return np.sign(offsets) * np.log1p(np.abs(offsets))


def seam_mask(
    grid: Pair, window: Pair, shift: Pair
) -> Float[np.ndarray, "windows 1 tokens tokens"]:
    """-100 between tokens of a window that lie on opposite ends of the grid before its cyclic shift, else 0."""
    beyond = [np.arange(g) >= g - s for g, s in zip(grid, shift, strict=True)]  # what wrapped round
    region = 2 * beyond[0][:, None] + beyond[1][None, :]
    (rows, columns), (high, wide) = grid, window
    region = region.reshape(rows // high, high, columns // wide, wide).swapaxes(1, 2)
    region = region.reshape(-1, high * wide)
    apart = region[:, :, None] != region[:, None, :]
    return np.where(apart, ACROSS_SEAM, 0.0)[:, None]


def _split_heads(
    qkv: Shaped[Array, "*batch tokens channels"], heads: int
) -> tuple[Shaped[Array, "*batch tokens heads dim"], ...]:
    split = qkv.reshape(*qkv.shape[:-1], 3, heads, -1)
    return split[..., 0, :, :], split[..., 1, :, :], split[..., 2, :, :]


def _unit(x: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
    """x / |x|, its gradient finite at 0."""
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-12))
