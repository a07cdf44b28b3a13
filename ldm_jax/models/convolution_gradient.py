"""XLA's convolution of stride 1 with a gradient that is fast on a CPU.

XLA makes convolutions of the gradients, too, and for them transposes all of the input, or of the kernel, number by
number, which takes as long as the products. Here they are products of matrices, one for each tap of the kernel.
"""

import functools
import itertools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Edges = tuple[tuple[int, int], ...]  # (low, high) of each axis of space

# From here on one product for the kernel's gradient takes half to nine tenths of the time of one for each tap.
_MANY_POSITIONS = 2048


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve_at_stride_1(
    x: Float[Array, "batch *space in"],
    kernel: Float[Array, "*window in out"],
    padding: Edges,
    dilation: tuple[int, ...],
) -> Float[Array, "batch *out_space out"]:
    """y[p] = sum over taps t of x[p + dilation t - low] kernel[t]; it has no forward-mode derivative."""
    axes = "DHW"[-len(dilation) :]
    return jax.lax.conv_general_dilated(
        *(x, kernel, (1,) * len(dilation), padding),
        rhs_dilation=dilation,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
    )


def _forward(
    x: Array, kernel: Array, padding: Edges, dilation: tuple[int, ...]
) -> tuple[Array, tuple[Array, Array]]:
    return convolve_at_stride_1(x, kernel, padding, dilation), (x, kernel)


def _backward(
    padding: Edges, dilation: tuple[int, ...], kept: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    x, kernel = kept
    starts = list(_starts(kernel.shape[:-2], dilation))
    reach = [(taps - 1) * step for taps, step in zip(kernel.shape[:-2], dilation, strict=True)]
    edges = tuple((r - low, r - high) for r, (low, high) in zip(reach, padding, strict=True))
    if math.prod(x.shape[:-1]) >= _MANY_POSITIONS:
        of_kernel = _of_kernel_at_once(x, gradient, starts, edges).reshape(kernel.shape)
    else:
        of_kernel = _of_kernel(x, gradient, starts, padding).reshape(kernel.shape)
    # A convolution would transpose the kernel: that is worth its while if there is more of x.
    if kernel.size > x.size:
        return _of_few_positions(x, kernel, gradient, starts, padding), of_kernel
    flipped = jnp.flip(kernel, tuple(range(kernel.ndim - 2))).swapaxes(-1, -2)
    return convolve_at_stride_1(gradient, flipped, edges, dilation), of_kernel


convolve_at_stride_1.defvjp(_forward, _backward)


def _starts(window: tuple[int, ...], dilation: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Where in the padded input each tap sees its first number."""
    for taps in itertools.product(*map(range, window)):
        yield tuple(i * step for i, step in zip(taps, dilation, strict=True))


def _of_kernel(
    x: Float[Array, "batch *space in"],
    gradient: Float[Array, "batch *out_space out"],
    starts: list[tuple[int, ...]],
    padding: Edges,
) -> Float[Array, "taps in out"]:
    """For each tap what it sees, transposed, times the output's gradient."""
    rows = gradient.reshape(-1, gradient.shape[-1])
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    sizes = gradient.shape[1:-1]
    products = []
    for start in starts:
        seen = padded[:, *(slice(i, i + n) for i, n in zip(start, sizes, strict=True))]
        products.append(seen.reshape(-1, x.shape[-1]).T @ rows)
    return jnp.stack(products)


def _of_kernel_at_once(
    x: Float[Array, "batch *space in"],
    gradient: Float[Array, "batch *out_space out"],
    starts: list[tuple[int, ...]],
    edges: Edges,
) -> Float[Array, "taps in out"]:
    """`_of_kernel` as one product: x, transposed, times what each tap has part in, side by side."""
    features, sizes = gradient.shape[-1], x.shape[1:-1]
    around = [(0, 0, 0), *((low, high, 0) for low, high in edges), (0, 0, 0)]
    padded = jax.lax.pad(gradient, jnp.zeros((), gradient.dtype), around)
    last = starts[-1]
    parts = [
        padded[:, *(slice(k - i, k - i + n) for k, i, n in zip(last, start, sizes, strict=True))]
        for start in starts
    ]
    all_taps = jnp.concatenate(parts, axis=-1).reshape(-1, len(starts) * features)
    product = x.reshape(-1, x.shape[-1]).T @ all_taps
    return product.reshape(-1, len(starts), features).swapaxes(0, 1)


def _of_few_positions(
    x: Float[Array, "batch *space in"],
    kernel: Float[Array, "*window in out"],
    gradient: Float[Array, "batch *out_space out"],
    starts: list[tuple[int, ...]],
    padding: Edges,
) -> Float[Array, "batch *space in"]:
    """The output's gradient times all of the kernel, transposed; what belongs to one position is added up."""
    features, sizes = x.shape[-1], gradient.shape[1:-1]
    products = gradient.reshape(-1, gradient.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1]).T
    products = products.reshape(*gradient.shape[:-1], len(starts), features)
    totals = [n + low + high for n, (low, high) in zip(x.shape[1:-1], padding, strict=True)]
    added = jnp.zeros((len(x), *totals, features), x.dtype)
    for tap, start in enumerate(starts):
        around = [(i, total - i - n) for i, n, total in zip(start, sizes, totals, strict=True)]
        added += jnp.pad(products[..., tap, :], ((0, 0), *around, (0, 0)))
    inside = (slice(low, low + n) for (low, _), n in zip(padding, x.shape[1:-1], strict=True))
    return added[:, *inside]
