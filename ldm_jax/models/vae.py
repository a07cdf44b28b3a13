"""The VAE between log-mel spectrograms and latents of AudioLDM 2 (Liu et al., arXiv 2308.05734).

The convolutional autoencoder of latent diffusion (Rombach et al., arXiv 2112.10752, appendix G), on
one channel. Parameter paths mirror the keys of `diffusers.AutoencoderKL`.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from ldm_jax.models.attention import attend
from ldm_jax.models.convolution import convolve
from ldm_jax.models.layers import Conv, Dense, Dtype, GroupNorm, rematerialized, upcast

EPSILON = 1e-6  # of every norm
LOGVAR_RANGE = (-30.0, 20.0)


class ResnetBlock(nn.Module):
    """x + conv2(silu(norm2(conv1(silu(norm1(x))))))).

    Where the width changes, the first x goes through a 1x1 convolution, `conv_shortcut`.
    """

    features: int
    norm_groups: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time freq c"]
    ) -> Float[Array, "batch time freq {self.features}"]:
        """The same time and frequency, `features` channels."""
        norm = partial(GroupNorm, self.norm_groups, epsilon=EPSILON, dtype=self.dtype)
        conv = partial(Conv, self.features, dtype=self.dtype)
        h = conv((3, 3), name="conv1")(nn.silu(norm(name="norm1")(x)))
        h = conv((3, 3), name="conv2")(nn.silu(norm(name="norm2")(h)))
        if x.shape[-1] != self.features:
            x = conv((1, 1), name="conv_shortcut")(x)
        return x + h


class Attention(nn.Module):
    """x + attention of one head, as wide as x, from every cell of the normed x to every cell."""

    norm_groups: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch time freq c"]) -> Float[Array, "batch time freq c"]:
        """The same shape."""
        dense = partial(Dense, x.shape[-1], dtype=self.dtype)
        h = GroupNorm(self.norm_groups, EPSILON, self.dtype, name="group_norm")(x)
        one_head = (x.shape[0], x.shape[1] * x.shape[2], 1, x.shape[3])
        query, key, value = (dense(name=f"to_{name}")(h).reshape(one_head) for name in "qkv")
        return x + dense(name="to_out_0")(attend(query, key, value).reshape(x.shape))


class MidBlock(nn.Module):
    """Two residual blocks with attention between them, at the lowest resolution."""

    norm_groups: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch time freq c"]) -> Float[Array, "batch time freq c"]:
        """The same shape."""
        resnet = partial(ResnetBlock, x.shape[-1], self.norm_groups, self.dtype)
        x = resnet(name="resnets_0")(x)
        x = Attention(self.norm_groups, self.dtype, name="attentions_0")(x)
        return resnet(name="resnets_1")(x)


class Downsample(nn.Module):
    """A 3x3 convolution of stride 2, with zeros after the last time and frequency alone."""

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time freq c"]
    ) -> Float[Array, "batch new_time new_freq c"]:
        """Half the time and frequency, rounded down."""
        padding = ((0, 1), (0, 1))
        return Conv(x.shape[-1], (3, 3), (2, 2), padding, dtype=self.dtype, name="conv")(x)


class Upsample(nn.Module):
    """Every cell four times, then a 3x3 convolution with `conv/kernel` and `conv/bias`.

    Of the three rows under a kernel two are always copies of one cell, likewise of the columns. So
    each of the four outputs that belong to a cell is a 2x2 convolution of the small input, with
    sums of the kernel's rows and columns: 4/9 of the multiplications, and on a CPU less than half
    the time, for the same result up to rounding.
    """

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time freq c"]
    ) -> Float[Array, "batch 2*time 2*freq c"]:
        """Twice the time and frequency."""
        kernel, bias = ConvParams(x.shape[-1], name="conv")()
        phases = [phase for rows in _phases(kernel, 0) for phase in _phases(rows, 1)]
        x, kernel, bias = promote_dtype(x, jnp.concatenate(phases, axis=-1), bias, dtype=self.dtype)
        batch, time, freq, features = x.shape
        out = convolve(x, kernel, (1, 1), ((1, 1), (1, 1)))
        out = out.reshape(batch, time + 1, freq + 1, 2, 2, features)
        # Phase 1 of a cell lies where the window has moved on by one.
        rows = [
            jnp.stack([out[:, i : i + time, j : j + freq, i, j] for j in range(2)], axis=3)
            for i in range(2)
        ]
        out = jnp.stack(rows, axis=2).reshape(batch, 2 * time, 2 * freq, features)
        return out + bias[None, None, None, :]


class ConvParams(nn.Module):
    """The parameters of a 3x3 convolution of `features` channels, for who computes it otherwise."""

    features: int

    @nn.compact
    def __call__(self) -> tuple[Float[Array, "3 3 c c"], Float[Array, " c"]]:
        """(kernel, bias)."""
        shape = (3, 3, self.features, self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        return kernel, self.param("bias", nn.initializers.zeros, (self.features,))


def _phases(kernel: Array, axis: int) -> tuple[Array, Array]:
    """The 2 taps that the first and the second copy of a cell see of 3 taps along `axis`."""
    low, mid, high = jnp.split(kernel, 3, axis)
    first = jnp.concatenate([low, mid + high], axis)
    return first, jnp.concatenate([low + mid, high], axis)


class Level(nn.Module):
    """Residual blocks at one resolution, then a change of resolution: None, "down" or "up"."""

    features: int
    layers: int
    norm_groups: int
    resample: str | None
    dtype: Dtype = jnp.float32
    remat: str = ""

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time freq c"]
    ) -> Float[Array, "batch new_time new_freq {self.features}"]:
        """`features` channels."""
        block = rematerialized(ResnetBlock, self.remat)
        for i in range(self.layers):
            x = block(self.features, self.norm_groups, self.dtype, name=f"resnets_{i}")(x)
        if self.resample == "down":
            x = Downsample(self.dtype, name="downsamplers_0")(x)
        if self.resample == "up":
            x = Upsample(self.dtype, name="upsamplers_0")(x)
        return x


class Encoder(nn.Module):
    """Log-mel to the moments before `quant_conv`; fields as in `VAE`."""

    block_out_channels: tuple[int, ...]
    out_channels: int
    layers_per_block: int
    norm_groups: int
    dtype: Dtype = jnp.float32
    remat: str = ""

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time freq c"]
    ) -> Float[Array, "batch new_time new_freq {self.out_channels}"]:
        """1 / 2^(levels - 1) of the time and frequency."""
        x = Conv(self.block_out_channels[0], (3, 3), dtype=self.dtype, name="conv_in")(x)
        last = len(self.block_out_channels) - 1
        for i, features in enumerate(self.block_out_channels):
            level = partial(Level, features, self.layers_per_block, self.norm_groups)
            x = level(
                "down" if i < last else None, self.dtype, self.remat, name=f"down_blocks_{i}"
            )(x)
        x = MidBlock(self.norm_groups, self.dtype, name="mid_block")(x)
        x = nn.silu(GroupNorm(self.norm_groups, EPSILON, self.dtype, name="conv_norm_out")(x))
        return Conv(self.out_channels, (3, 3), dtype=self.dtype, name="conv_out")(x)


class Decoder(nn.Module):
    """Latents after `post_quant_conv` to log-mel; fields as in `VAE`."""

    block_out_channels: tuple[int, ...]
    out_channels: int
    layers_per_block: int
    norm_groups: int
    dtype: Dtype = jnp.float32
    remat: str = ""

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time freq c"]
    ) -> Float[Array, "batch new_time new_freq {self.out_channels}"]:
        """2^(levels - 1) times the time and frequency."""
        x = Conv(self.block_out_channels[-1], (3, 3), dtype=self.dtype, name="conv_in")(x)
        x = MidBlock(self.norm_groups, self.dtype, name="mid_block")(x)
        last = len(self.block_out_channels) - 1
        for i, features in enumerate(reversed(self.block_out_channels)):
            level = partial(Level, features, self.layers_per_block + 1, self.norm_groups)
            x = level("up" if i < last else None, self.dtype, self.remat, name=f"up_blocks_{i}")(x)
        x = nn.silu(GroupNorm(self.norm_groups, EPSILON, self.dtype, name="conv_norm_out")(x))
        return Conv(self.out_channels, (3, 3), dtype=self.dtype, name="conv_out")(x)


class VAE(nn.Module):
    """Natural-log mel spectrograms (batch, time, mel, 1) to Gaussian latents, and back.

    A side of the latents is 2^(levels - 1) times shorter: 4 for the 16 kHz model, 8 for the 48 kHz
    one.

    Attributes:
        block_out_channels: width of each level, from the spectrogram inwards.
        latent_channels: of the latents.
        layers_per_block: residual blocks a level of the encoder; the decoder has one more.
        norm_groups: groups of every norm.
        scaling_factor: the diffusion model's latents are this many times a sample of this VAE's.
        in_channels: of the spectrogram.
        remat: which activations of its levels the backward pass computes again; see `layers.rematerialized`.
        dtype: compute type.
    """

    block_out_channels: tuple[int, ...]
    latent_channels: int
    layers_per_block: int
    norm_groups: int
    scaling_factor: float
    in_channels: int = 1
    remat: str = ""
    dtype: Dtype = jnp.float32

    def setup(self) -> None:
        """Encoder and decoder, so that each can be applied without the other."""
        layers, groups, moments = self.layers_per_block, self.norm_groups, 2 * self.latent_channels
        shared = (layers, groups, self.dtype, self.remat)
        self.encoder = Encoder(self.block_out_channels, moments, *shared)
        self.decoder = Decoder(self.block_out_channels, self.in_channels, *shared)
        self.quant_conv = Conv(moments, (1, 1), dtype=self.dtype)
        self.post_quant_conv = Conv(self.latent_channels, (1, 1), dtype=self.dtype)

    def __call__(
        self, mel: Float[Array, "batch time mels in"]
    ) -> Float[Array, "batch new_time new_mels in"]:
        """The reconstruction from the mean of the latents: decode(mean(encode(mel)))."""
        return self.decode(self.encode(mel)[0])

    def encode(
        self, mel: Float[Array, "batch time mels in"]
    ) -> tuple[Float[Array, "batch t f z"], Float[Array, "batch t f z"]]:
        """(mean, logvar) of the latents, not scaled; logvar within [-30, 20]. See `sample`."""
        mean, logvar = jnp.split(self.quant_conv(self.encoder(mel)), 2, axis=-1)
        return mean, jnp.clip(logvar, *LOGVAR_RANGE)

    def decode(self, latents: Float[Array, "batch t f z"]) -> Float[Array, "batch time mels in"]:
        """The log-mel of latents that are not scaled."""
        return self.decoder(self.post_quant_conv(latents))

    def decode_scaled(
        self, latents: Float[Array, "batch t f z"]
    ) -> Float[Array, "batch time mels in"]:
        """The log-mel of the diffusion model's latents: decode(latents / scaling_factor)."""
        return self.decode(latents / self.scaling_factor)


def sample(
    key: Array, mean: Float[Array, "*shape"], logvar: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """A draw of the latents that `VAE.encode` describes, not scaled.

    mean + exp(logvar / 2) n with n ~ N(0, 1).
    """
    noise = jax.random.normal(key, mean.shape, upcast(mean).dtype).astype(mean.dtype)
    return mean + jnp.exp(0.5 * logvar) * noise
