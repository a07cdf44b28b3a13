"""Layers of networks that are only evaluated, as modules that hold their parameters and hand them out, prepared.

A network collects them once, and computes with them as often as it is called.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from ldm_jax.models.layers import Dtype, upcast
from ldm_jax.models.prepared_filters import convolve, prepare

_NORM_EPSILON = 1e-5

Affine = tuple[Float[Array, "..."], Float[Array, "_"]]  # weights, and what is added


class Dense(nn.Module):
    """Parameters `kernel` (in, out) and `bias` (out)."""

    features: int
    dtype: Dtype

    @nn.compact
    def __call__(self, in_features: int) -> Affine:
        """Both, in the compute type."""
        shape = (in_features, self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, shape[1:])
        return kernel.astype(self.dtype), bias.astype(self.dtype)


class Conv(nn.Module):
    """Parameters `kernel` (3, 3, in, out) and, where there is one, `bias` (out), of a convolution."""

    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, in_features: int) -> Affine:
        """Both, as they are; 0 for no bias."""
        shape, zeros = (3, 3, in_features, self.features), nn.initializers.zeros
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        if not self.use_bias:
            return kernel, jnp.zeros(self.features)
        return kernel, self.param("bias", zeros, (self.features,))


class BatchNorm(nn.Module):
    """Parameters `scale`, `bias` and, like others, `running_mean` and `running_var`."""

    @nn.compact
    def __call__(self, features: int) -> Affine:
        """(gain, shift), in at least float32: scale / sqrt(running_var + epsilon), bias - gain running_mean."""

        def parameter(name: str, init: nn.initializers.Initializer) -> Array:
            return upcast(self.param(name, init, (features,)))

        ones, zeros = nn.initializers.ones, nn.initializers.zeros
        gain = parameter("scale", ones) / jnp.sqrt(parameter("running_var", ones) + _NORM_EPSILON)
        return gain, parameter("bias", zeros) - gain * parameter("running_mean", zeros)


def prepared_conv(layer: Affine, *, width: int, dtype: Dtype, norm: Affine | None = None) -> Affine:
    """(filters for an input of that width, what is added) of a convolution, with the batch norm behind it in them."""
    kernel, bias = (upcast(x) for x in layer)
    if norm is not None:
        gain, shift = norm
        kernel, bias = kernel * gain[None, None, None, :], bias * gain + shift
    return prepare(kernel.astype(dtype), width=width), bias.astype(dtype)


def convolved(
    x: Float[Array, "batch time width in"], layer: Affine
) -> Float[Array, "batch time width out"]:
    """Relu of a prepared convolution."""
    return nn.relu(convolve(x, layer[0]) + layer[1][None, None, None, :])


def affine(x: Float[Array, "batch in"], layer: Affine) -> Float[Array, "batch out"]:
    """`x @ kernel + bias`."""
    return x @ layer[0] + layer[1][None, :]


def at_least_two(x: Shaped[Array, "batch *rest"]) -> Shaped[Array, "batches *rest"]:
    """A single row twice: a CPU would round it otherwise than among others, by the order of sums."""
    return jnp.concatenate([x, x]) if len(x) == 1 else x
