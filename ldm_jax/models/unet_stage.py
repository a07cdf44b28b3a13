"""What the UNet is built of: residual blocks that know the time, resampling, stages of them.

Parameter paths mirror the keys of `diffusers.AudioLDM2UNet2DConditionModel`.
"""

import functools
from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ldm_jax.models.layers import Conv, Dense, Dtype, GroupNorm, rematerialized
from ldm_jax.models.transformer import Absorbed, Context, SpatialTransformer, match_rows


def at_least_float32(dtype: Dtype) -> Dtype:
    """The type in which time embeddings are computed for a network in `dtype`."""
    return jnp.promote_types(dtype, jnp.float32)


class TimeMLP(nn.Module):
    """linear_2(silu(linear_1(x))).

    Attributes:
        features: width inside and of the output.
        dtype: compute type.
    """

    features: int
    dtype: Dtype = jnp.float32

    def setup(self) -> None:
        """Makes the layers."""
        self.linear_1 = Dense(self.features, dtype=self.dtype)
        self.linear_2 = Dense(self.features, dtype=self.dtype)

    def __call__(self, x: Float[Array, "*rows d"]) -> Float[Array, "*rows features"]:
        """Each row by itself."""
        return self.linear_2(nn.silu(self.linear_1(x)))


class ResnetBlock(nn.Module):
    """shortcut(x) + conv2(silu(norm2(conv1(silu(norm1(x))) + time_emb_proj(silu(time))))).

    Attributes:
        features: channels of the output; where the input has as many, the shortcut is the identity.
        groups: of the norms.
        epsilon: of the norms.
        dtype: compute type.
    """

    features: int
    groups: int
    epsilon: float
    dtype: Dtype = jnp.float32

    def setup(self) -> None:
        """Makes the layers; `conv2` starts at zero, and so the residual."""
        conv = functools.partial(Conv, self.features, (3, 3), dtype=self.dtype)
        self.norm1 = GroupNorm(self.groups, self.epsilon, self.dtype)
        self.conv1 = conv()
        self.time_emb_proj = Dense(self.features, dtype=at_least_float32(self.dtype))
        self.norm2 = GroupNorm(self.groups, self.epsilon, self.dtype)
        self.conv2 = conv(kernel_init=nn.initializers.zeros_init())
        self.conv_shortcut = Dense(self.features, dtype=self.dtype)

    def embed_time(self, time: Float[Array, "*rows d"]) -> Float[Array, "*rows features"]:
        """What `__call__` adds to the channels, from the network's time embedding."""
        return self.time_emb_proj(nn.silu(time))

    def __call__(
        self, x: Float[Array, "batch time freq in"], time: Float[Array, "times features"]
    ) -> Float[Array, "rows time freq features"]:
        """`time` is what `embed_time` gave: one row, or as many as `x` has, or a multiple or a divisor of these."""
        hidden = self.conv1(nn.silu(self.norm1(x)))
        hidden = match_rows(hidden, max(x.shape[0], time.shape[0]))
        if time.shape[0] > 1:
            time = match_rows(time, hidden.shape[0])
        hidden = hidden + time[:, None, None, :].astype(hidden.dtype)
        hidden = self.conv2(nn.silu(self.norm2(hidden)))
        shortcut = x if x.shape[-1] == self.features else self.conv_shortcut(x)
        return hidden + match_rows(shortcut, hidden.shape[0])


class Downsample(nn.Module):
    """A convolution of stride 2: sizes are halved, and rounded up where odd.

    Attributes:
        features: channels.
        dtype: compute type.
    """

    features: int
    dtype: Dtype = jnp.float32

    def setup(self) -> None:
        """Makes the convolution, padded alike on both sides."""
        self.conv = Conv(self.features, (3, 3), (2, 2), ((1, 1), (1, 1)), dtype=self.dtype)

    def __call__(
        self, x: Float[Array, "batch time freq c"]
    ) -> Float[Array, "batch half_time half_freq c"]:
        """(time, freq) to (ceil(time / 2), ceil(freq / 2))."""
        return self.conv(x)


class Upsample(nn.Module):
    """Every position repeated twice in time and frequency, cut to `size`, then a convolution.

    Attributes:
        features: channels.
        dtype: compute type.
    """

    features: int
    dtype: Dtype = jnp.float32

    def setup(self) -> None:
        """Makes the convolution."""
        self.conv = Conv(self.features, (3, 3), dtype=self.dtype)

    def __call__(
        self, x: Float[Array, "batch half_time half_freq c"], size: tuple[int, int]
    ) -> Float[Array, "batch time freq c"]:
        """`size` is (time, freq) of the output, each twice the input's or one less."""
        batch, time, freq, channels = x.shape
        doubled = jnp.broadcast_to(
            x[:, :, None, :, None, :], (batch, time, 2, freq, 2, channels)
        ).reshape(batch, 2 * time, 2 * freq, channels)
        return self.conv(doubled[:, : size[0], : size[1]])


class Stage(nn.Module):
    """Residual blocks of one resolution, each with its transformers, and the way to the next one.

    Attributes:
        features: channels.
        layers: residual blocks.
        attended: how many of them, the first ones, are followed by one spatial transformer a slot.
        slots: width of each slot's context; None is self-attention.
        heads: of every attention.
        depth: transformer blocks in a spatial transformer.
        groups: of the group norms.
        epsilon: of the residual blocks' norms.
        resample: the resolution to go on in: "down", "up", or None for the same.
        remat: which activations the backward pass computes again; see `layers.rematerialized`.
        dtype: compute type.
    """

    features: int
    layers: int
    attended: int
    slots: tuple[int | None, ...]
    heads: int
    depth: int
    groups: int
    epsilon: float
    resample: Literal["down", "up"] | None = None
    remat: str = ""
    dtype: Dtype = jnp.float32

    def setup(self) -> None:
        """Makes the layers; the transformers are numbered slot by slot within layer by layer."""
        resnet = rematerialized(ResnetBlock, self.remat)
        transformer = rematerialized(SpatialTransformer, self.remat)
        self.resnets = [
            resnet(self.features, self.groups, self.epsilon, self.dtype) for _ in range(self.layers)
        ]
        self.attentions = [
            transformer(self.features, self.heads, self.depth, self.groups, self.dtype)
            for _ in range(self.attended * len(self.slots))
        ]
        if self.resample == "down":
            self.downsamplers = [Downsample(self.features, self.dtype)]
        if self.resample == "up":
            self.upsamplers = [Upsample(self.features, self.dtype)]

    def embed_time(
        self, time: Float[Array, "*rows d"]
    ) -> tuple[Float[Array, "*rows {self.features}"], ...]:
        """What each residual block adds to its channels."""
        return tuple(resnet.embed_time(time) for resnet in self.resnets)

    def project(
        self, contexts: Sequence[tuple[Array, Array | None]]
    ) -> tuple[tuple[Context | Absorbed | None, ...], ...]:
        """What each transformer attends to: the k-th slot that has a width, the k-th context."""
        projected: list[tuple[Context | Absorbed | None, ...]] = []
        for k, transformer in enumerate(self.attentions):
            slot = k % len(self.slots)
            if self.slots[slot] is None:
                projected.append((None,) * self.depth)
            else:
                before = sum(width is not None for width in self.slots[:slot])
                projected.append(transformer.project(*contexts[before]))
        return tuple(projected)

    def __call__(
        self,
        x: Float[Array, "batch time freq in"],
        time: tuple[Array, ...],
        contexts: tuple[tuple[Context | Absorbed | None, ...], ...],
        *,
        layer: int,
    ) -> Float[Array, "rows time freq {self.features}"]:
        """Residual block `layer` and the transformers after it, given what the two above made."""
        x = self.resnets[layer](x, time[layer])
        here = slice(layer * len(self.slots), (layer + 1) * len(self.slots))
        for transformer, context in zip(self.attentions[here], contexts[here], strict=True):
            x = transformer(x, context)
        return x

    def downsample(
        self, x: Float[Array, "batch time freq c"]
    ) -> Float[Array, "batch half_time half_freq c"]:
        """To the next resolution."""
        return self.downsamplers[0](x)

    def upsample(
        self, x: Float[Array, "batch half_time half_freq c"], size: tuple[int, int]
    ) -> Float[Array, "batch time freq c"]:
        """To the next resolution, whose (time, freq) are `size`."""
        return self.upsamplers[0](x, size)
