"""HiFi-GAN (Kong et al., arXiv 2010.05646): log-mel spectrograms to waveforms.

Parameter paths mirror the keys of `transformers.SpeechT5HifiGan`.
"""

import math
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from ldm_jax.models.convolution import convolve
from ldm_jax.models.layers import Conv, Dtype

LAST_SLOPE = 0.01  # of the leaky ReLU before the last convolution, in every published generator
EDGE_KERNEL = 7  # of the first and the last convolution


class ConvTranspose(nn.Module):
    """The transpose of a 1-D convolution of stride s, cropped.

    out[n] = bias + sum_t x[t] kernel[n + low - s t], where `kernel` is (taps, in, out), its taps in
    PyTorch's order, not flipped. Before the crop there are s (time - 1) + taps samples.

    Attributes:
        features: output channels.
        taps: length of the kernel.
        stride: s.
        crop: samples left out at the (low, high) end.
        dtype: compute type.
    """

    features: int
    taps: int
    stride: int
    crop: tuple[int, int]
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time c"]
    ) -> Float[Array, "batch samples {self.features}"]:
        """Polyphase: one convolution gives the s samples between two inputs as channels."""
        shape = (self.taps, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        batch, time, features_in = x.shape
        stride, reach = self.stride, -(-self.taps // self.stride)
        kernel = jnp.pad(kernel, ((0, stride * reach - self.taps), (0, 0), (0, 0)))
        kernel = kernel.reshape(reach, stride, features_in, self.features)[::-1]
        kernel = kernel.transpose(0, 2, 1, 3).reshape(reach, features_in, stride * self.features)
        out = convolve(x, kernel, (1,), [(reach - 1, reach - 1)])
        out = out.reshape(batch, -1, self.features)
        length = stride * (time - 1) + self.taps - sum(self.crop)
        return out[:, self.crop[0] : self.crop[0] + length] + bias[None, None, :]


class ResidualBlock(nn.Module):
    """x <- x + convs2_i(lrelu(convs1_i(lrelu(x)))) for each dilation, which is that of convs1_i."""

    taps: int
    dilations: tuple[int, ...]
    slope: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch time c"]) -> Float[Array, "batch time c"]:
        """The same shape."""
        conv = partial(Conv, x.shape[-1], (self.taps,), dtype=self.dtype)
        for i, dilation in enumerate(self.dilations):
            h = nn.leaky_relu(x, self.slope)
            h = conv(dilation=(dilation,), name=f"convs1_{i}")(h)
            h = nn.leaky_relu(h, self.slope)
            x = x + conv(name=f"convs2_{i}")(h)
        return x


class HiFiGAN(nn.Module):
    """The generator: upsampling stages, each followed by the mean of residual blocks.

    With `exact_length` the wave has time * prod(upsample_rates) samples, as that of the training
    code's 48 kHz generator (`Generator_HiFiRes`). Without it a stage whose kernel and rate differ
    by an odd number adds one sample, which the later stages multiply: time * 160 + 32 samples for
    the published 16 kHz model, time * 480 + 16 for the 48 kHz one.

    Attributes:
        mel_channels: of the spectrogram.
        upsample_initial_channel: width before the first stage; each stage halves it.
        upsample_rates: stride of each stage.
        upsample_kernel_sizes: taps of each stage's transposed convolution.
        resblock_kernel_sizes: taps of each residual block of a stage.
        resblock_dilation_sizes: dilations in each of them.
        leaky_relu_slope: of all leaky ReLUs but the last.
        normalize_before: whether the spectrogram becomes (mel - mean) / scale first. These two are
            parameters in any case, so that a checkpoint keeps them.
        exact_length: see above.
        dtype: compute type.
    """

    mel_channels: int
    upsample_initial_channel: int
    upsample_rates: tuple[int, ...]
    upsample_kernel_sizes: tuple[int, ...]
    resblock_kernel_sizes: tuple[int, ...]
    resblock_dilation_sizes: tuple[tuple[int, ...], ...]
    leaky_relu_slope: float = 0.1
    normalize_before: bool = False
    exact_length: bool = False
    dtype: Dtype = jnp.float32

    @property
    def hop(self) -> int:
        """Samples a frame."""
        return math.prod(self.upsample_rates)

    @nn.compact
    def __call__(
        self, mel: Float[Array, "batch time {self.mel_channels}"]
    ) -> Float[Array, "batch samples"]:
        """Waves within [-1, 1] of natural-log mel spectrograms."""
        mean = self.param("mean", nn.initializers.zeros, (self.mel_channels,))
        scale = self.param("scale", nn.initializers.ones, (self.mel_channels,))
        if self.normalize_before:
            mel = (mel - mean[None, None, :]) / scale[None, None, :]
        edge = partial(Conv, kernel_size=(EDGE_KERNEL,), dtype=self.dtype)
        x = edge(self.upsample_initial_channel, name="conv_pre")(mel)
        for stage in range(len(self.upsample_rates)):
            x = self._residual(stage, self._upsample(stage, x))
        x = edge(1, name="conv_post")(nn.leaky_relu(x, LAST_SLOPE))
        return jnp.tanh(x[..., 0])

    def _upsample(
        self, stage: int, x: Float[Array, "batch time c"]
    ) -> Float[Array, "batch samples features"]:
        rate, taps = self.upsample_rates[stage], self.upsample_kernel_sizes[stage]
        high = (taps - rate) // 2
        low = taps - rate - high if self.exact_length else high
        return ConvTranspose(
            self.upsample_initial_channel // 2 ** (stage + 1),
            *(taps, rate, (low, high), self.dtype),
            name=f"upsampler_{stage}",
        )(nn.leaky_relu(x, self.leaky_relu_slope))

    def _residual(
        self, stage: int, x: Float[Array, "batch time c"]
    ) -> Float[Array, "batch time c"]:
        kinds = list(zip(self.resblock_kernel_sizes, self.resblock_dilation_sizes, strict=True))
        total = jnp.zeros_like(x)
        for i, (taps, dilations) in enumerate(kinds, start=stage * len(kinds)):
            block = partial(ResidualBlock, taps, dilations, self.leaky_relu_slope, self.dtype)
            total = total + block(name=f"resblocks_{i}")(x)
        return total / len(kinds)
