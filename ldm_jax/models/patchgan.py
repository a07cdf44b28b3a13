"""The discriminator of patches (Isola et al., arXiv 1611.07004), as the VAE of AudioLDM 2 is trained against it.

`NLayerDiscriminator` of taming-transformers, on log-mel spectrograms of one channel in place of pictures.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ldm_jax.models.layers import Conv, Dtype, upcast

SLOPE = 0.2  # of every leaky ReLU
DEVIATION = 0.02  # of new kernels about 0 and of new norm scales about 1
_EPSILON = 1e-5
_WIDEST = 8  # times the first width


class BatchNorm(nn.Module):
    """(x - mean) / sqrt(variance + 1e-5) * scale + bias, with the moments of this batch over rows, time and frequency.

    Under a mesh these are the moments of the whole batch, on however many devices it lies. There are no running
    moments: a discriminator is used in training alone.
    """

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch time freq c"]) -> Float[Array, "batch time freq c"]:
        """The same shape."""
        scale = self.param("scale", _about_one, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        wide = upcast(x)
        mean = wide.mean((0, 1, 2), keepdims=True)
        variance = jnp.square(wide - mean).mean((0, 1, 2), keepdims=True)
        factor = jax.lax.rsqrt(variance + _EPSILON) * scale[None, None, None, :]
        return ((wide - mean) * factor + bias[None, None, None, :]).astype(self.dtype)


class PatchGAN(nn.Module):
    """Spectrograms to one score a patch: high for what looks real.

    A 4x4 convolution of stride 2; `layers` more with batch norm, of which the last has stride 1; a last one to one
    channel. Widths double up to 8 times the first. With 3 layers a score sees 70 x 70 cells.

    Attributes:
        features: width of the first layer.
        layers: with norms.
        in_channels: of the spectrogram.
        dtype: compute type; moments are taken in float32.
    """

    features: int = 64
    layers: int = 3
    in_channels: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time freq {self.in_channels}"]
    ) -> Float[Array, "batch patches_t patches_f 1"]:
        """Scores, without a bound."""
        conv = partial(
            Conv,
            kernel_size=(4, 4),
            padding=((1, 1), (1, 1)),
            dtype=self.dtype,
            kernel_init=nn.initializers.normal(DEVIATION),
        )
        x = nn.leaky_relu(conv(self.features, strides=(2, 2), name="conv_0")(x), SLOPE)
        for i in range(1, self.layers + 1):
            width = self.features * min(2**i, _WIDEST)
            strides = (2, 2) if i < self.layers else (1, 1)
            x = conv(width, strides=strides, use_bias=False, name=f"conv_{i}")(x)
            x = nn.leaky_relu(BatchNorm(self.dtype, name=f"norm_{i}")(x), SLOPE)
        return conv(1, name="conv_out")(x)

    def example(self) -> tuple[Float[Array, "1 side side c"]]:
        """A small input."""
        side = 2 ** (self.layers + 2)
        return (jnp.zeros((1, side, side, self.in_channels)),)


def _about_one(key: Array, shape: tuple[int, ...]) -> Float[Array, " c"]:
    return 1 + DEVIATION * jax.random.normal(key, shape)
