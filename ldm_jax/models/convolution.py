"""Convolution: the only place that picks an algorithm for the backend.

On a CPU a wide convolution in float32 is bound by its multiplications. `fewer_products` needs half
as many and takes 0.4 to 0.7 of the time for 3x3 convolutions and HiFi-GAN's long ones, at the price
of a tenth of a second of compilation each. What runs on GPU and TPU, or in 16 bits, goes to XLA as
it is.
"""

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ldm_jax.models.convolution_gradient import convolve_at_stride_1

Padding = Sequence[tuple[int, int]]

TILE = 4  # outputs computed together
_POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5)  # few and small, which keeps rounding near 1e-6
# From here on the products saved outweigh the sums around them, and the time to compile those.
_MIN_PRODUCTS = 1000  # an output
_MIN_FEATURES = 32
_MIN_POSITIONS = 2048
_MAX_PRODUCTS_AS_ROWS = 512  # of a point
_MIN_PRODUCTS_WITH_GRADIENT = 2**25  # a convolution; below, its gradient takes no time anyway
_MIN_GROUPED_PRODUCTS = 2**25  # a convolution; below, groups are not worth compiling one by one


def convolve(
    x: Float[Array, "batch *space in"],
    kernel: Float[Array, "*window in_group out"],
    strides: Sequence[int],
    padding: str | Padding,
    *,
    rhs_dilation: Sequence[int] | None = None,
    **options: Any,
) -> Float[Array, "batch *out_space out"]:
    """What `jax.lax.conv_general_dilated` computes of channels-last arrays, and its arguments."""
    window = kernel.shape[:-2]
    dilation = (1,) * len(window) if rhs_dilation is None else tuple(rhs_dilation)
    if isinstance(padding, str):
        reach = [(taps - 1) * step + 1 for taps, step in zip(window, dilation, strict=True)]
        padding = jax.lax.padtype_to_pads(x.shape[1:-1], reach, strides, padding)
    products = math.prod(x.shape[:-1]) * math.prod(kernel.shape) // math.prod(strides)
    exact_on_cpu = jax.default_backend() == "cpu" and x.dtype in (jnp.float32, jnp.float64)
    pays = (
        window[0] >= 3
        and math.prod(kernel.shape[:-1]) >= _MIN_PRODUCTS
        and kernel.shape[-1] >= _MIN_FEATURES
        and math.prod(x.shape[:-1]) >= _MIN_POSITIONS
    )
    plain = set(strides) == {1} and set(options.get("lhs_dilation") or (1,)) == {1}
    if exact_on_cpu and plain and options.get("feature_group_count", 1) == 1:
        if pays:
            return fewer_products(x, kernel, padding=padding, dilation=dilation)
        if products >= _MIN_PRODUCTS_WITH_GRADIENT:
            return _plain(x, kernel, padding=padding, dilation=dilation)
    grouped = options.get("feature_group_count", 1) > 1 and products >= _MIN_GROUPED_PRODUCTS
    if grouped and jax.default_backend() == "cpu":
        return _by_groups(x, kernel, strides, padding, dilation, **options)
    options.setdefault("dimension_numbers", _channels_last(x.ndim))
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, rhs_dilation=dilation, **options
    )


def _by_groups(
    x: Array,
    kernel: Array,
    strides: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
    *,
    feature_group_count: int,
    **options: Any,
) -> Float[Array, "batch *out_space out"]:
    """One convolution a group, whose gradients take a 12th of the time of XLA's of all of them at once on a CPU."""
    options["dimension_numbers"] = _channels_last(x.ndim)
    parts = [
        jax.lax.conv_general_dilated(part, own, strides, padding, rhs_dilation=dilation, **options)
        for part, own in zip(
            jnp.split(x, feature_group_count, axis=-1),
            jnp.split(kernel, feature_group_count, axis=-1),
            strict=True,
        )
    ]
    return jnp.concatenate(parts, axis=-1)


def fewer_products(
    x: Float[Array, "batch time *space in"],
    kernel: Float[Array, "taps *window in out"],
    *,
    padding: Padding,
    dilation: Sequence[int],
) -> Float[Array, "batch out_time *out_space out"]:
    """Convolution of stride 1 by Winograd's short filters along the first axis of space.

    For `TILE` = m outputs of a filter g of r taps, y = A^T [(G g) * (B^T d)], with m + r - 1
    products in place of m r (Winograd 1980; Lavin and Gray, arXiv 1509.09308). Products become
    convolutions over tiles, one for each point. A filter longer than m is cut into parts of m taps,
    which lie a tile apart, so that their sum is another such convolution. A dilated filter sees
    every dilation-th element: `dilation` tiles interleave.
    """
    step, (low, high) = dilation[0], padding[0]
    batch, time, *space, features = x.shape
    part = min(kernel.shape[0], TILE)
    parts = -(-kernel.shape[0] // part)
    points = TILE + part - 1
    to_outputs, to_products, from_inputs = short_filter(TILE, part)

    length = time + low + high - (kernel.shape[0] - 1) * step
    tiles = -(-length // (TILE * step))
    inputs = tiles + parts  # tiles; the last is looked into by the one before
    unpadded = [(0, 0)] * (len(space) + 1)
    x = jnp.pad(x, [(0, 0), (low, max(0, inputs * TILE * step - time - low)), *unpadded])
    x = x[:, : inputs * TILE * step].reshape(batch, inputs, TILE, step, *space, features)
    tiled = [x[:, i // TILE : i // TILE + inputs - 1, i % TILE] for i in range(points)]
    tiled = [
        d.reshape(batch, (inputs - 1) * step, *space, features) for d in combine(from_inputs, tiled)
    ]

    missing = parts * part - kernel.shape[0]
    kernel = jnp.pad(kernel, [(0, missing)] + [(0, 0)] * (kernel.ndim - 1))
    kernel = kernel.reshape(parts, part, *kernel.shape[1:])
    filters = combine(to_products, [kernel[:, i] for i in range(part)])

    few = len(space) == 1 and parts == 1 and math.prod(kernel.shape[2:-1]) <= _MAX_PRODUCTS_AS_ROWS
    one_point = _rows if few else _plain
    products = [
        one_point(d, g, padding=[(0, 0), *padding[1:]], dilation=dilation)
        for d, g in zip(tiled, filters, strict=True)
    ]
    outputs = [y.reshape(batch, tiles, step, *y.shape[2:]) for y in combine(to_outputs, products)]
    out = jnp.stack(outputs, axis=2)
    return out.reshape(batch, tiles * TILE * step, *out.shape[4:])[:, :length]


def _plain(
    x: Array, kernel: Array, *, padding: Padding, dilation: Sequence[int]
) -> Float[Array, "batch *out_space out"]:
    edges = tuple((low, high) for low, high in padding)
    return convolve_at_stride_1(x, kernel, edges, tuple(dilation))


def _rows(
    x: Array, kernel: Array, *, padding: Padding, dilation: Sequence[int]
) -> Float[Array, "batch time out_space out"]:
    """`_plain` for one tap along time, with all rows of x end to end as one axis.

    XLA's convolution along two axes runs on a single core where it sums few products.
    """
    x = jnp.pad(x, ((0, 0), (0, 0), padding[1], (0, 0)))
    batch, time, width, features = x.shape
    over = (kernel.shape[1] - 1) * dilation[1]  # outputs that reach into the next row
    x = x.reshape(batch, time * width, features)
    out = _plain(x, kernel[0], padding=[(0, over)], dilation=dilation[1:])
    return out.reshape(batch, time, width, -1)[:, :, : width - over]


@functools.cache
def short_filter(outputs: int, taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A^T, G, B^T) with A^T [(G g) * (B^T d)] the `outputs` correlations of d with g of `taps`.

    The transpose of multiplying polynomials of `outputs` and of `taps` coefficients: evaluate both
    at the points and at infinity, multiply, interpolate by Lagrange's formula, whose denominators
    lie with G.
    """
    points = np.array(_POINTS[: outputs + taps - 2])

    def evaluation(coefficients: int) -> np.ndarray:
        at_infinity = np.eye(coefficients)[-1:]
        return np.concatenate([points[:, None] ** np.arange(coefficients), at_infinity])

    others = [np.delete(points, i) for i in range(len(points))]
    denominators = [np.prod(p - q) for p, q in zip(points, others, strict=True)] + [1.0]
    rows = [np.append(np.poly(q)[::-1], 0.0) for q in others] + [np.poly(points)[::-1]]
    return evaluation(outputs).T, evaluation(taps) / np.c_[denominators], np.stack(rows)


def combine(matrix: np.ndarray, parts: Sequence[Array]) -> list[Array]:
    """The product, in sums that are written out: they fuse, and zeros cost nothing."""
    weighted = ([float(w) * x for w, x in zip(row, parts, strict=True) if w] for row in matrix)
    return [functools.reduce(operator.add, terms) for terms in weighted]


def _channels_last(ndim: int) -> tuple[str, str, str]:
    axes = "DHW"[5 - ndim :]
    return f"N{axes}C", f"{axes}IO", f"N{axes}C"
