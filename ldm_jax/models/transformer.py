"""The UNet's spatial transformer: attention of all positions to each other and to a context.

After `SpatialTransformer` of latent diffusion (Rombach et al., 2022) as AudioLDM 2 uses it. Keys
and values of a context do not depend on the diffusion step, so `project` makes them apart from the
call. Parameter paths mirror the keys of `diffusers.AudioLDM2UNet2DConditionModel`.
"""

import functools
import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from ldm_jax.models.attention import attend
from ldm_jax.models.layers import Dense, Dtype, GroupNorm, LayerNorm, upcast


class Context(NamedTuple):
    """What one attention attends to.

    Attributes:
        key: of every token.
        value: of every token.
        mask: True where a token may be attended to; all where None.
    """

    key: Float[Array, "batch tokens heads dim"]
    value: Float[Array, "batch tokens heads dim"]
    mask: Bool[Array, "batch 1 1 tokens"] | None


class Absorbed(NamedTuple):
    """A context of few tokens, joined with the layers around its attention.

    With heads h, to_scores = W_q,h k_h^T / sqrt(dim) and from_weights = v_h W_out,h the attention is
    softmax_h(x to_scores) from_weights + b: heads * tokens columns in place of the 2 features^2
    products that to_q and to_out take for each position, and this holds for all diffusion steps.

    Attributes:
        to_scores: from a position to the scores of all tokens in all heads.
        from_weights: from their weights to the output.
        mask: True where a token may be attended to; all where None.
    """

    to_scores: Float[Array, "batch c heads tokens"]
    from_weights: Float[Array, "batch heads tokens c"]
    mask: Bool[Array, "batch 1 1 tokens"] | None


def match_rows(x: Shaped[Array, "batch *rest"], rows: int) -> Shaped[Array, "{rows} *rest"]:
    """Each row of `x` repeated so that there are `rows`: x0 x0 x1 x1 ... for twice as many.

    What a clip's guided and unguided branch share is computed once, until they meet their contexts.
    """
    return x if x.shape[0] == rows else jnp.repeat(x, rows // x.shape[0], axis=0)


class Attention(nn.Module):
    """to_out(softmax(q k^T / sqrt(dim)) v) with q = to_q(x), k = to_k(states), v = to_v(states).

    Attributes:
        features: width of `x`, of the output and of all heads together.
        heads: how many there are.
        dtype: compute type.
    """

    features: int
    heads: int
    dtype: Dtype = jnp.float32

    def setup(self) -> None:
        """Makes the projections."""
        linear = functools.partial(Dense, self.features, dtype=self.dtype)
        self.to_q = linear(use_bias=False)
        self.to_k = linear(use_bias=False)
        self.to_v = linear(use_bias=False)
        self.to_out_0 = linear()

    def project(
        self,
        states: Float[Array, "batch tokens width"],
        mask: Bool[Array, "batch tokens"] | None = None,
    ) -> Context | Absorbed:
        """Keys and values of `states`; joined with to_q and to_out where that saves products."""
        mask = None if mask is None else mask[:, None, None, :]
        key, value = self._split(self.to_k(states)), self._split(self.to_v(states))
        tokens = states.shape[1]
        if self.is_initializing() or self.heads * tokens >= self.features + tokens:
            return Context(key, value, mask)
        to_q, to_out = (
            layer.variables["params"]["kernel"].astype(self.dtype)
            for layer in (self.to_q, self.to_out_0)
        )
        dim = self.features // self.heads
        to_scores = jnp.einsum("chd,bmhd->bchm", to_q.reshape(-1, self.heads, dim) * dim**-0.5, key)
        from_weights = jnp.einsum("bmhd,hdc->bhmc", value, to_out.reshape(self.heads, dim, -1))
        return Absorbed(to_scores, from_weights, mask)

    def __call__(
        self, x: Float[Array, "batch queries c"], context: Context | Absorbed | None = None
    ) -> Float[Array, "batch queries c"]:
        """Every position of `x` looks at `context`, or at all of `x` where that is None."""
        if isinstance(context, Absorbed):
            bias = self.to_out_0.variables["params"]["bias"].astype(self.dtype)
            return _attend_absorbed(x, context) + bias[None, None]
        if context is None:
            context = Context(self._split(self.to_k(x)), self._split(self.to_v(x)), None)
        out = attend(self._split(self.to_q(x)), context.key, context.value, mask=context.mask)
        return self.to_out_0(out.reshape(x.shape))

    def _split(self, x: Float[Array, "batch n c"]) -> Float[Array, "batch n heads dim"]:
        return x.reshape(*x.shape[:-1], self.heads, self.features // self.heads)


def _attend_absorbed(
    x: Float[Array, "batch queries c"], context: Absorbed
) -> Float[Array, "batch queries c"]:
    batch, channels, heads, tokens = context.to_scores.shape
    scores = jnp.matmul(x, context.to_scores.reshape(batch, channels, heads * tokens))
    scores = upcast(scores).reshape(*x.shape[:2], heads, tokens)
    if context.mask is not None:
        scores = jnp.where(context.mask, scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(x.dtype).reshape(*x.shape[:2], -1)
    return jnp.matmul(weights, context.from_weights.reshape(batch, heads * tokens, channels))


class GEGLU(nn.Module):
    """a * gelu(b) with [a, b] = proj(x) (Shazeer, 2020), the gelu by erf.

    Attributes:
        features: width of `a`, and so of the output.
        dtype: compute type.
    """

    features: int
    dtype: Dtype = jnp.float32

    def setup(self) -> None:
        """Makes the one projection for value and gate."""
        self.proj = Dense(2 * self.features, dtype=self.dtype)

    def __call__(self, x: Float[Array, "*batch c"]) -> Float[Array, "*batch hidden"]:
        """Each position by itself."""
        value, gate = jnp.split(self.proj(x), 2, axis=-1)
        # nn.gelu's erfc costs twice as much on a CPU, and is more exact only where the result is nearly 0.
        return value * (gate * (0.5 * (1 + jax.lax.erf(gate * math.sqrt(0.5)))))


class FeedForward(nn.Module):
    """net_2(GEGLU(x)), four times as wide inside.

    Attributes:
        features: width of input and output.
        dtype: compute type.
    """

    features: int
    dtype: Dtype = jnp.float32

    def setup(self) -> None:
        """Makes the layers; the published `net.1` is a dropout of rate 0."""
        self.net_0 = GEGLU(4 * self.features, self.dtype)
        self.net_2 = Dense(self.features, dtype=self.dtype)

    def __call__(self, x: Float[Array, "*batch c"]) -> Float[Array, "*batch c"]:
        """Each position by itself."""
        return self.net_2(self.net_0(x))


class TransformerBlock(nn.Module):
    """x += attn1(norm1(x)); x += attn2(norm2(x), context); x += ff(norm3(x)).

    Attributes:
        features: width of `x`.
        heads: of both attentions.
        dtype: compute type.
    """

    features: int
    heads: int
    dtype: Dtype = jnp.float32

    def setup(self) -> None:
        """Makes the layers."""
        self.norm1, self.norm2, self.norm3 = (LayerNorm(1e-5, self.dtype) for _ in range(3))
        self.attn1 = Attention(self.features, self.heads, self.dtype)
        self.attn2 = Attention(self.features, self.heads, self.dtype)
        self.ff = FeedForward(self.features, self.dtype)

    def project(
        self, states: Float[Array, "batch tokens width"], mask: Bool[Array, "batch tokens"] | None
    ) -> Context | Absorbed:
        """What `attn2` attends to."""
        return self.attn2.project(states, mask)

    def __call__(
        self, x: Float[Array, "batch positions c"], context: Context | Absorbed | None
    ) -> Float[Array, "rows positions c"]:
        """`attn2` is a second self-attention without a `context`; else the output has its rows."""
        x = x + self.attn1(self.norm1(x))
        if context is not None:
            x = match_rows(x, context[0].shape[0])
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """x + proj_out(blocks(proj_in(norm(x)))) over the positions of a map, frequency fastest.

    Attributes:
        features: channels.
        heads: of every attention.
        depth: transformer blocks.
        groups: of the group norm.
        dtype: compute type.
    """

    features: int
    heads: int
    depth: int = 1
    groups: int = 32
    dtype: Dtype = jnp.float32

    def setup(self) -> None:
        """Makes the layers; `proj_out` starts at zero, and so the whole as the identity."""
        self.norm = GroupNorm(self.groups, epsilon=1e-6, dtype=self.dtype)
        self.proj_in = Dense(self.features, dtype=self.dtype)
        self.transformer_blocks = [
            TransformerBlock(self.features, self.heads, self.dtype) for _ in range(self.depth)
        ]
        self.proj_out = Dense(
            self.features, dtype=self.dtype, kernel_init=nn.initializers.zeros_init()
        )

    def project(
        self, states: Float[Array, "batch tokens width"], mask: Bool[Array, "batch tokens"] | None
    ) -> tuple[Context | Absorbed, ...]:
        """What each block's `attn2` attends to."""
        return tuple(block.project(states, mask) for block in self.transformer_blocks)

    def __call__(
        self, x: Float[Array, "batch time freq c"], contexts: tuple[Context | Absorbed | None, ...]
    ) -> Float[Array, "rows time freq c"]:
        """Attends with one context a block, as `project` made them; None is self-attention.

        Contexts may have a multiple of the rows of `x`, each of which then stands for several.
        """
        batch, time, freq, channels = x.shape
        tokens = self.proj_in(self.norm(x).reshape(batch, time * freq, channels))
        for block, context in zip(self.transformer_blocks, contexts, strict=True):
            tokens = block(tokens, context)
        out = self.proj_out(tokens).reshape(-1, time, freq, channels)
        return match_rows(x, out.shape[0]) + out
