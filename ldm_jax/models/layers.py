"""Layers shared by the networks: the one place that fixes precision, epsilon and layout conventions.

All arrays are channels last. Parameters are stored in float32 (or whatever they are given in); `dtype` is the
compute type. Statistics of norms, softmax and timestep embeddings are computed in at least float32.
"""

import math
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from ldm_jax.models.convolution import convolve

Dtype = Any
Initializer = nn.initializers.Initializer


def upcast(x: Array) -> Array:
    """`x` in at least float32: float64 stays, bfloat16 and float16 rise."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class Conv(nn.Module):
    """1-D or 2-D convolution with parameters `kernel` (*window, in, out) and `bias` (out).

    Attributes:
        features: output channels.
        kernel_size: window, one entry a spatial dimension.
        strides: one entry a spatial dimension; None is 1.
        padding: (low, high) a spatial dimension, as PyTorch's symmetric padding would give; "SAME" or "VALID".
        dilation: of the kernel, one entry a spatial dimension; None is 1.
        use_bias: whether a bias is added.
        dtype: compute type.
        kernel_init: how a new kernel is drawn.
        bias_init: how a new bias is drawn.
    """

    features: int
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    padding: Any = "SAME"
    dilation: tuple[int, ...] | None = None
    use_bias: bool = True
    dtype: Dtype = jnp.float32
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(
        self, x: Shaped[Array, "batch *space in"]
    ) -> Shaped[Array, "batch *out_space out"]:
        """The convolution."""
        return nn.Conv(
            self.features,
            self.kernel_size,
            strides=self.strides,
            padding=self.padding,
            kernel_dilation=self.dilation,
            use_bias=self.use_bias,
            dtype=self.dtype,
            kernel_init=self.kernel_init,
            bias_init=self.bias_init,
            conv_general_dilated=convolve,
            parent=cast(Any, self.scope),  # parameters lie directly at this module's path
        )(x)


class GroupNorm(nn.Module):
    """Group normalisation over space and `features / groups` consecutive channels; `scale` and `bias` (features).

    Sums go over space first, each channel by itself, then over a group's channels. With XLA's sums over both at once
    the norm takes 1.5 to 3 times as long on a CPU, and loses one to two digits.
    """

    groups: int = 32
    epsilon: float = 1e-5
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Shaped[Array, "batch *space c"]) -> Shaped[Array, "batch *space c"]:
        """Normalised, scaled and shifted; statistics in at least float32.

        Raises:
            ValueError: the groups do not divide the channels.
        """
        batch, *space, features = x.shape
        if features % self.groups:
            raise ValueError(f"{features} channels cannot be divided into {self.groups} groups")
        scale = self.param("scale", nn.initializers.ones, (features,))
        bias = self.param("bias", nn.initializers.zeros, (features,))
        size, ones = features // self.groups, (1,) * len(space)

        def of_group(values: Array) -> Array:
            sums = values.sum(range(1, x.ndim - 1)).reshape(batch, self.groups, size).sum(-1)
            means = sums / (math.prod(space) * size)
            return jnp.repeat(means, size, axis=-1).reshape(batch, *ones, features)

        wide = upcast(x)
        centred = wide - of_group(wide)
        factor = jax.lax.rsqrt(of_group(jnp.square(centred)) + self.epsilon)
        scale, bias = (one.reshape(1, *ones, features) for one in (scale, bias))
        return (centred * (factor * scale) + bias).astype(self.dtype)


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis; `scale` and `bias`. The epsilon has no default: models differ."""

    epsilon: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Shaped[Array, "*batch c"]) -> Shaped[Array, "*batch c"]:
        """Normalised, scaled and shifted."""
        return nn.LayerNorm(
            epsilon=self.epsilon,
            dtype=self.dtype,
            use_fast_variance=False,
            parent=cast(Any, self.scope),
        )(x)


class Dense(nn.Module):
    """`x @ kernel + bias` with `kernel` (in, out)."""

    features: int
    use_bias: bool = True
    dtype: Dtype = jnp.float32
    kernel_init: Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Shaped[Array, "*batch in"]) -> Shaped[Array, "*batch out"]:
        """The product."""
        return nn.Dense(
            self.features,
            use_bias=self.use_bias,
            dtype=self.dtype,
            kernel_init=self.kernel_init,
            dot_general=_flat_product,
            parent=cast(Any, self.scope),
        )(x)


def _flat_product(
    x: Array, kernel: Array, dimension_numbers: jax.lax.DotDimensionNumbers, **options: Any
) -> Array:
    """`jax.lax.dot_general` of a Dense layer, of all rows as one matrix on a CPU.

    XLA's product for the gradient of `kernel` over several axes of rows would transpose `x` number by number there.
    """
    if jax.default_backend() != "cpu" or x.ndim == 2:
        return jax.lax.dot_general(x, kernel, dimension_numbers, **options)
    flat = x.reshape(-1, x.shape[-1])
    return jax.lax.dot_general(flat, kernel, (((1,), (0,)), ((), ())), **options).reshape(
        *x.shape[:-1], kernel.shape[-1]
    )


# What of a module's activations the backward pass finds kept, by policy; the rest is computed again.
REMAT: dict[str, Any] = {
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


def rematerialized(module: Any, policy: str) -> Any:
    """A module class whose activations are treated by `policy`: "" keeps all, else a key of `REMAT`.

    "full" keeps none but the module's inputs, "dots" the products with its kernels (not convolutions).

    Raises:
        ValueError: an unknown policy.
    """
    if not policy:
        return module
    if policy not in REMAT:
        raise ValueError(f"remat is {policy!r}; it can be '', {', '.join(map(repr, REMAT))}")
    return nn.remat(module, policy=REMAT[policy])


def timestep_embedding(
    timesteps: Shaped[Array, " batch"], dim: int, *, max_period: float = 10_000.0
) -> Float[Array, "batch {dim}"]:
    """[cos(t f_i), sin(t f_i)] with f_i = max_period ** (-i / half), i = 0 .. half - 1 and half = dim / 2."""
    dtype = jnp.promote_types(timesteps.dtype, jnp.float32)
    half = dim // 2
    frequencies = jnp.exp(-jnp.log(max_period) * jnp.arange(half, dtype=dtype) / half)
    angles = timesteps.astype(dtype)[:, None] * frequencies[None, :]
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)
