"""3x3 convolutions of a network that is only evaluated: filters are transformed once, not in every call.

`prepare` picks an algorithm from what does not depend on the batch: so a clip's figure does not hang
on the clips beside it. On a CPU, in float32, products are saved by Winograd's short filters (Lavin
and Gray, arXiv 1509.09308) along time and, from some width on, along frequency too; what runs on GPU
and TPU, or in 16 bits, goes to XLA as it is. Prepared filters are larger than kernels, at most 2.7
times.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ldm_jax.models.convolution import combine, short_filter

_MIN_FEATURES = 32  # in and out, from which saving products pays
_MIN_WIDTH_OF_ROWS = 32  # from which transforms along frequency cost more than they save
_MIN_TILES = 64
_MIN_FEATURES_TOGETHER = 1024  # from which products of all points are one call

_Matrices = tuple[np.ndarray, np.ndarray, np.ndarray]

# For a width of two, between zeros: [k1 x0 + k2 x1, k0 x0 + k1 x1] is a sum of three products.
_TWO: _Matrices = (
    np.array([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]),
    np.array([[0.0, 1.0, 0.0], [1.0, -1.0, 0.0], [0.0, -1.0, 1.0]]),
    np.array([[0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]),
)


def prepare(
    kernel: Float[Array, "3 3 in out"], *, width: int
) -> Float[Array, "time_points frequency_points in out"]:
    """The filters of a convolution of stride 1 that keeps its input's size, for `convolve`.

    Args:
        kernel: taps along time and frequency.
        width: of the input along frequency.
    """
    pays = (
        jax.default_backend() == "cpu"
        and kernel.dtype in (jnp.float32, jnp.float64)
        and min(kernel.shape[2:]) >= _MIN_FEATURES
        and width >= 2
    )
    if not pays:
        return kernel
    if width >= _MIN_WIDTH_OF_ROWS:
        return jnp.stack(combine(short_filter(4, 3)[1], list(kernel)))
    in_time, in_frequency = _TABLE[(4, 3) if width == 2 else (4, 4) if width < 8 else (6, 4)]
    by_time = combine(in_time[1], list(kernel))
    return jnp.stack([jnp.stack(combine(in_frequency[1], list(taps))) for taps in by_time])


def convolve(
    x: Float[Array, "batch time width in"],
    filters: Float[Array, "time_points frequency_points in out"],
) -> Float[Array, "batch time width out"]:
    """The convolution of `x`, with zeros around it, by what `prepare` made of a kernel for its width.

    Raises:
        ValueError: filters for a width of 2, but `x` has another.
    """
    points = filters.shape[:2]
    if points == (4, 3) and x.shape[2] != 2:
        raise ValueError(f"filters prepared for a width of 2, but x is {x.shape}")
    if points == (3, 3):
        return jax.lax.conv_general_dilated(
            x, filters, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    if points == (6, 3):
        return _along_time(x, filters)
    return _along_both(x, filters, *_TABLE[points])


def _along_time(
    x: Float[Array, "batch time width in"], filters: Float[Array, "6 3 in out"]
) -> Float[Array, "batch time width out"]:
    """Along frequency as usual, with all rows of x end to end: XLA is faster at one axis than at two."""
    to_outputs, _, from_inputs = short_filter(4, 3)
    batch, time, width, features = x.shape
    tiles = -(-time // 4)
    x = jnp.pad(x, ((0, 0), (1, 4 * tiles + 3 - time), (0, 0), (0, 0)))
    x = x.reshape(batch, tiles + 1, 4, width, features)
    tiled = combine(from_inputs, [x[:, i // 4 : i // 4 + tiles, i % 4] for i in range(6)])
    products = []
    for part, taps in zip(tiled, filters, strict=True):
        rows = jnp.pad(part, ((0, 0), (0, 0), (1, 1), (0, 0))).reshape(1, -1, features)
        out = jax.lax.conv_general_dilated(
            rows, taps, (1,), [(0, 2)], dimension_numbers=("NHC", "HIO", "NHC")
        )
        products.append(out.reshape(batch, tiles, width + 2, -1)[:, :, :width])
    out = jnp.stack(combine(to_outputs, products), axis=2)
    return out.reshape(batch, 4 * tiles, width, -1)[:, :time]


def _along_both(
    x: Float[Array, "batch time width in"],
    filters: Float[Array, "time_points frequency_points in out"],
    in_time: _Matrices,
    in_frequency: _Matrices,
) -> Float[Array, "batch time width out"]:
    """A^T [(G g G'^T) * (B^T d B')] A' on tiles d, where each point is a product of matrices."""
    batch, time, width, features = x.shape
    high, wide = len(in_time[0]), len(in_frequency[0])  # outputs of a tile
    rows, columns = -(-time // high), -(-width // wide)  # of tiles
    edges = [(1, (rows + 1) * high - time - 1), (1, (columns + 1) * wide - width - 1)]
    x = jnp.pad(x, ((0, 0), *edges, (0, 0)))
    x = x.reshape(batch, rows + 1, high, columns + 1, wide, features)
    by_time = combine(
        in_time[2], [x[:, i // high : i // high + rows, i % high] for i in range(high + 2)]
    )
    points = []
    for row in by_time:
        parts = [row[:, :, i // wide : i // wide + columns, i % wide] for i in range(wide + 2)]
        points += combine(in_frequency[2], parts)
    flat = [point.reshape(-1, features) for point in points]
    filters = filters.reshape(len(points), features, -1)
    products = _products(flat, filters)
    products = [y.reshape(batch, rows, columns, -1) for y in products]
    across = len(in_frequency[2])
    by_frequency = [combine(in_time[0], products[i::across]) for i in range(across)]
    outputs = [
        jnp.stack(combine(in_frequency[0], [column[i] for column in by_frequency]), axis=3)
        for i in range(high)
    ]
    out = jnp.stack(outputs, axis=2)
    return out.reshape(batch, rows * high, columns * wide, -1)[:, :time, :width]


def _products(
    points: Sequence[Float[Array, "tiles in"]], filters: Float[Array, "points in out"]
) -> list[Float[Array, "tiles out"]]:
    """A matrix product a point. Of a few rows alone XLA would sum in another order, and a batch would matter."""
    tiles = len(points[0])
    missing = max(0, _MIN_TILES - tiles)
    points = [jnp.pad(x, ((0, missing), (0, 0))) for x in points]
    if filters.shape[2] >= _MIN_FEATURES_TOGETHER:
        products = list(jnp.einsum("pti,pio->pto", jnp.stack(points), filters))
    else:
        products = [x @ y for x, y in zip(points, filters, strict=True)]
    return [y[:tiles] for y in products]


_TABLE: dict[tuple[int, ...], tuple[_Matrices, _Matrices]] = {  # by points
    (6, 4): (short_filter(4, 3), short_filter(2, 3)),
    (4, 4): (short_filter(2, 3), short_filter(2, 3)),
    (4, 3): (short_filter(2, 3), _TWO),
}
