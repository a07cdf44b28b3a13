"""1-D convolutions whose kernel is normalised, as discriminators of waves have them.

Weight norm (Salimans & Kingma, arXiv 1602.07868) learns a kernel's length and direction apart; spectral norm (Miyato et
al., arXiv 1802.05957) divides a kernel by its largest singular value. Both see a kernel as a matrix with one row an
output channel.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from ldm_jax.models.convolution import convolve
from ldm_jax.models.layers import Dtype, upcast

_EPSILON = 1e-12  # least length that a vector is divided by
# PyTorch's default of a convolution, uniform within 1 / sqrt(fan_in).
_UNIFORM = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class NormedConv(nn.Module):
    """A convolution along time by g v / |v|, or by kernel / sigma.

    Weight norm has `kernel_v` (taps, in / groups, out) and `kernel_g` (out); spectral norm has `kernel` and `kernel_u`
    (out), from which one iteration finds sigma. No gradient moves `kernel_u`: see `iterated`. Both have `bias` (out).

    Attributes:
        features: output channels.
        taps: length of the kernel.
        stride: of the outputs.
        groups: of channels that do not see each other.
        spectral: spectral norm, else weight norm.
        dtype: compute type; norms are taken in float32.
    """

    features: int
    taps: int
    stride: int = 1
    groups: int = 1
    spectral: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time c"]
    ) -> Float[Array, "batch new_time {self.features}"]:
        """As PyTorch pads it: with (taps - 1) / 2 zeros at either end."""
        shape = (self.taps, x.shape[-1] // self.groups, self.features)
        if self.spectral:
            kernel = self.param("kernel", _UNIFORM, shape)
            start = self.param("kernel_u", nn.initializers.normal(1.0), (self.features,))
            kernel = upcast(kernel) / largest_singular_value(kernel, start)[0]
        else:
            direction = self.param("kernel_v", _UNIFORM, shape)
            length = self.param("kernel_g", lambda _, v: row_lengths(v), direction)
            kernel = weight_normed(direction, length)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        pad = (self.taps - 1) // 2
        out = convolve(x, kernel, (self.stride,), [(pad, pad)], feature_group_count=self.groups)
        return out + bias[None, None, :]


def row_lengths(kernel: Float[Array, "*window in out"]) -> Float[Array, " out"]:
    """|v| of each output channel, in at least float32."""
    wide = upcast(kernel)
    return jnp.sqrt(jnp.square(wide).sum(tuple(range(wide.ndim - 1))))


def weight_normed(
    direction: Float[Array, "*window in out"], length: Float[Array, " out"]
) -> Float[Array, "*window in out"]:
    """The kernel g v / |v|, in at least float32."""
    factor = upcast(length) / row_lengths(direction)
    return upcast(direction) * factor.reshape((1,) * (direction.ndim - 1) + factor.shape)


def largest_singular_value(
    kernel: Float[Array, "*window in out"], start: Float[Array, " out"], *, iterations: int = 1
) -> tuple[Float[Array, ""], Float[Array, " out"]]:
    """(sigma, u) by power iteration: v <- W^T u / |W^T u|, u <- W v / |W v|, then sigma = u . W v.

    The gradient takes u and v as given, which is sigma's own gradient once they have converged.

    Args:
        kernel: W, its rows the output channels.
        start: the first u, of any length but 0.
        iterations: at least one.
    """
    matrix = upcast(kernel).reshape(-1, kernel.shape[-1])
    fixed, u = jax.lax.stop_gradient(matrix), jax.lax.stop_gradient(upcast(start))
    with jax.default_matmul_precision("highest"):  # a TPU would multiply in bfloat16
        for _ in range(iterations):
            v = _unit(fixed @ u)
            u = _unit(v @ fixed)
        return (v @ matrix) @ u, u


def iterated(params: dict[str, Any], *, iterations: int = 1) -> dict[str, Any]:
    """`kernel_u` of every spectrally normalised layer after more iterations; a partial tree of `params`."""
    flat: dict[Any, Any] = traverse_util.flatten_dict(params)
    out: dict[Any, Any] = {}
    for path, start in flat.items():
        if path[-1] == "kernel_u":
            kernel = flat[(*path[:-1], "kernel")]
            out[path] = largest_singular_value(kernel, start, iterations=iterations)[1]
    return traverse_util.unflatten_dict(out)


def _unit(x: Float[Array, " n"]) -> Float[Array, " n"]:
    return x / jnp.maximum(jnp.linalg.norm(x), _EPSILON)
