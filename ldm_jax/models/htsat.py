"""HTS-AT (Chen et al., arXiv 2202.00874), CLAP's audio tower: spectrograms in, a vector a clip out.

A Swin transformer on a spectrogram folded into a square image. With fusion (Wu et al., arXiv
2211.06687) a long clip comes as four spectrograms: the whole, shrunk, and three parts in full
resolution, which a small attention mixes into the patches of the whole. Parameter paths mirror the
keys of `transformers.ClapAudioModel` below `audio_encoder`.
"""

import functools
import math
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ldm_jax.models.layers import Conv, Dtype, Initializer, LayerNorm, upcast
from ldm_jax.models.swin import Stage

_NORM_EPSILON = 1e-5  # of the batch norms, and of the layer norms before and after the stages

# Parameters of the batch norms that no gradient moves: keep weight decay off them too.
FIXED = ("running_mean", "running_var")


@functools.cache
def bicubic_taps(
    length: int, out_length: int
) -> tuple[Int[np.ndarray, "out 4"], Float[np.ndarray, "out 4"]]:
    """(places, weights) of PyTorch's bicubic resampling: cubic convolution with A = -0.75.

    Output i lies at i (length - 1) / (out_length - 1), so that the ends are aligned; a place beyond
    an end holds the value at that end. PyTorch rounds these positions to float32 where its input is
    float32, which moves its outputs by a few 1e-5 of the input's steps.
    """
    a = -0.75
    position = np.arange(out_length)[:, None] * ((length - 1) / (out_length - 1))
    places = np.floor(position).astype(int) + np.arange(-1, 3)
    distance = np.abs(position - places)
    inner = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    outer = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    places = np.clip(places, 0, length - 1).astype(np.int32)
    return places, np.where(distance <= 1, inner, outer)


def mel_to_image(
    x: Float[Array, "batch channels frames mels"], size: int
) -> Float[Array, "batch channels {size} {size}"]:
    """Spectrograms stretched to size^2 / mels frames, cut in time and stacked in frequency.

    Pixel (r mels + f, t) is frame r size + t of mel f.

    Raises:
        ValueError: more frames than the image has place for.
    """
    batch, channels, frames, mels = x.shape
    folds = size // mels
    if frames > size * folds:
        raise ValueError(f"{frames} frames, but a {size} x {size} image holds {size * folds}")
    if frames < size * folds:
        places, weights = bicubic_taps(frames, size * folds)
        weights = jnp.asarray(weights, x.dtype)[None, None, :, :, None]
        x = jnp.sum(x[:, :, places] * weights, axis=3)
    x = x.reshape(batch, channels, folds, size, mels).swapaxes(3, 4)
    return x.reshape(batch, channels, size, size)


def batch_statistics(
    x: Float[Array, "batch *space c"],
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """(mean, biased variance) over all axes but the last, in at least float32.

    Rows may lie on many devices: the mean is over all of them.
    """
    wide, axes = upcast(x), tuple(range(x.ndim - 1))
    return wide.mean(axes), wide.var(axes)


def moved_statistics(
    running: Mapping[str, Float[Array, " c"]], x: Float[Array, "batch *space c"], *, momentum: float
) -> dict[str, Float[Array, " c"]]:
    """The running statistics after a batch: r + momentum (batch's - r), as PyTorch moves them.

    Args:
        running: "running_mean" and "running_var".
        x: what the norm was given.
        momentum: PyTorch's, the share of the new batch. Its variance is the unbiased one, though
            the batch itself is normalised by the biased one.
    """
    mean, variance = batch_statistics(x)
    count = x.size // x.shape[-1]
    found = {"running_mean": mean, "running_var": variance * (count / max(count - 1, 1))}
    return {
        name: running[name] + momentum * (found[name] - running[name]).astype(running[name].dtype)
        for name in FIXED
    }


class BatchNorm(nn.Module):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, in at least float32.

    `running_mean` and `running_var` are parameters like others, but have no gradient; in training
    `moved_statistics` moves them.
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width c"], *, by_batch: bool = False
    ) -> Float[Array, "batch height width c"]:
        """Over the last axis, which is the bands or the channels; by running statistics or this batch's."""
        ones, zeros = nn.initializers.ones, nn.initializers.zeros
        wide = upcast(x)

        def parameter(name: str, init: nn.initializers.Initializer) -> Array:
            value = self.param(name, init, (x.shape[-1],)).astype(wide.dtype)
            return value[None, None, None, :]

        running = parameter("running_mean", zeros), parameter("running_var", ones)
        mean, variance = jax.lax.stop_gradient(running)
        if by_batch:
            mean, variance = (s[None, None, None, :] for s in batch_statistics(x))
        normed = (wide - mean) / jnp.sqrt(variance + _NORM_EPSILON)
        return (normed * parameter("scale", ones) + parameter("bias", zeros)).astype(x.dtype)


class AttentionalFusion(nn.Module):
    """2 w x + 2 (1 - w) y, w = sigmoid(local(x + y) + global(mean(x + y))); arXiv 2009.14082.

    `local` and `global` are each 1x1 convolution, norm, relu, 1x1 convolution, norm; the numbers in
    the names of these are their places in the published sequences.
    """

    reduction: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width c"], y: Float[Array, "batch height width c"]
    ) -> Float[Array, "batch height width c"]:
        """As wide as `x` and `y`."""

        def branch(z: Array, name: str, places: tuple[int, int, int, int]) -> Array:
            c, (first, first_norm, second, second_norm) = z.shape[-1], places
            z = Conv(c // self.reduction, (1, 1), dtype=self.dtype, name=f"{name}_{first}")(z)
            z = nn.relu(BatchNorm(name=f"{name}_{first_norm}")(z))
            z = Conv(c, (1, 1), dtype=self.dtype, name=f"{name}_{second}")(z)
            return BatchNorm(name=f"{name}_{second_norm}")(z)

        mixed = x + y
        everywhere = mixed.mean(axis=(1, 2), keepdims=True)
        local = branch(mixed, "local_att", (0, 1, 3, 4))
        weight = nn.sigmoid(local + branch(everywhere, "global_att", (1, 2, 4, 5)))
        return 2 * x * weight + 2 * y * (1 - weight)


def _uniform(bound: float) -> Initializer:
    """Of [-bound, bound], as PyTorch draws biases.

    Where a recording has no sound at all (above its own bandwidth, say), normalised spectrograms are 0. Without a bias
    so are the tokens there, and every layer norm that they pass multiplies their gradient by eps^-1/2.
    """
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(
        key, shape, dtype, -bound, bound
    )


class PatchEmbed(nn.Module):
    """Patches of patch_size^2 pixels as vectors, with the parts of longer clips fused in."""

    features: int
    patch_size: int
    fusion: bool
    aff_reduction: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch channels size size"],
        is_longer: Bool[Array, " batch"] | None,
    ) -> Float[Array, "batch grid grid features"]:
        """A grid of patches; with fusion, `images` has four channels."""
        batch, channels, size, _ = images.shape
        patch = self.patch_size

        def patches(x: Array, window: tuple[int, int], name: str) -> Array:
            conv = Conv(
                self.features,
                window,
                strides=window,
                padding="VALID",
                dtype=self.dtype,
                bias_init=_uniform(1 / math.sqrt(math.prod(window))),
                name=name,
            )
            return conv(x[..., None])

        x = patches(images[:, 0], (patch, patch), "proj")
        if self.fusion:
            if is_longer is None:
                raise ValueError("a tower with fusion needs is_longer")
            parts = patches(images[:, 1:].reshape(-1, size, size), (patch, 3 * patch), "mel_conv2d")
            height, width = parts.shape[1:3]
            parts = parts.reshape(batch, channels - 1, height, width, -1).transpose(0, 2, 1, 3, 4)
            parts = parts.reshape(batch, height, (channels - 1) * width, -1)
            lacking = x.shape[2] - parts.shape[2]  # a third of the width is rounded down
            parts = jnp.pad(parts, ((0, 0), (0, 0), (0, lacking), (0, 0)))
            fused = AttentionalFusion(self.aff_reduction, self.dtype, name="fusion_model")(x, parts)
            x = jnp.where(is_longer[:, None, None, None], fused, x)
        return LayerNorm(_NORM_EPSILON, self.dtype, name="norm")(x)


class HTSAT(nn.Module):
    """The audio tower; the defaults are HTSAT-tiny without fusion.

    Attributes:
        embed_dim: width of the first stage; every further one is twice as wide as the last.
        depths: blocks of each stage.
        num_heads: attention heads of each stage.
        window: side of the attention windows; it divides the side of the patch grid in every stage.
        image_size: side of the image the spectrogram is folded into.
        num_mels: of the spectrogram; divides image_size.
        patch_size: side of a patch.
        mlp_ratio: width of the perceptrons over that of the stage.
        qkv_bias: whether queries, keys and values have biases.
        fusion: whether four spectrograms a clip come in.
        aff_reduction: narrowing inside the fusion's branches.
        layer_norm_eps: of the norms inside the blocks.
        drop_path: in training, the last block's probability of leaving out a summand; those of the
            blocks before it rise from 0 in equal steps.
        dtype: compute type; batch norm and resampling of the spectrogram are in at least float32.
    """

    embed_dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (4, 8, 16, 32)
    window: int = 8
    image_size: int = 256
    num_mels: int = 64
    patch_size: int = 4
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    fusion: bool = False
    aff_reduction: int = 4
    layer_norm_eps: float = 1e-5
    drop_path: float = 0.0
    dtype: Dtype = jnp.float32

    @property
    def out_features(self) -> int:
        """The width of the last stage and of what comes out."""
        return self.embed_dim * 2 ** (len(self.depths) - 1)

    @nn.compact
    def __call__(
        self,
        features: Float[Array, "batch *channels frames mels"],
        is_longer: Bool[Array, " batch"] | None = None,
        *,
        kept: Bool[Array, "batch frames mels"] | None = None,
        by_batch: bool = False,
        deterministic: bool = True,
    ) -> Float[Array, "batch out"]:
        """The mean over the patches after the last stage.

        Args:
            features: spectrograms in dB, with fusion four a clip, else one and no such axis.
            is_longer: with fusion, whether spectrograms 1 to 3 of a clip are fused into the first.
            kept: where the normalised spectrograms stay as they are; elsewhere they become 0.
            by_batch: whether the spectrograms are normalised by the batch's own statistics. So
                training does; see `moved_statistics`.
            deterministic: False in training; `drop_path` then needs the rng "dropout".

        Raises:
            ValueError: features of another shape, or no `is_longer` where there is fusion; fusion
                by batch statistics.
        """
        shape = (
            features.shape[0],
            *((4,) if self.fusion else ()),
            features.shape[-2],
            self.num_mels,
        )
        if features.shape != shape:
            raise ValueError(f"features are {features.shape}; with fusion {self.fusion}: {shape}")
        if self.fusion and (by_batch or kept is not None):
            raise ValueError("a tower with fusion runs as published, but cannot be trained here")
        x = upcast(features) if self.fusion else upcast(features)[:, None]
        x = BatchNorm(name="batch_norm")(x, by_batch=by_batch)
        if kept is not None:
            x = jnp.where(kept[:, None], x, 0.0)
        images = mel_to_image(x, self.image_size)
        x = PatchEmbed(
            self.embed_dim,
            self.patch_size,
            self.fusion,
            self.aff_reduction,
            self.dtype,
            name="patch_embed",
        )(images.astype(self.dtype), is_longer)
        rates = tuple(map(float, np.linspace(0.0, self.drop_path, sum(self.depths))))
        for i, (depth, heads) in enumerate(zip(self.depths, self.num_heads, strict=True)):
            before = sum(self.depths[:i])
            x = Stage(
                depth,
                heads,
                self.window,
                self.mlp_ratio,
                self.qkv_bias,
                self.layer_norm_eps,
                merge=i < len(self.depths) - 1,
                dtype=self.dtype,
                drop_paths=rates[before : before + depth],
                name=f"layers_{i}",
            )(x, deterministic=deterministic)
        x = LayerNorm(_NORM_EPSILON, self.dtype, name="norm")(x)
        return upcast(x).mean(axis=(1, 2))
