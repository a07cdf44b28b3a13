"""Parameters in less room on disk: float16, or whole numbers of 8 bits with a factor for each output or row.

    x is about scale * n,   n = round(x / scale) from -127 to 127,   scale = max |x| / 127

so that no number is off by more than half its `scale`. The maximum is over what shares an index of the last axis (a
kernel's outputs) or of the first (a table's rows), whichever leaves the smaller error. What is read computes as ever.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int8

from ldm_jax.convert.lazy import CheckpointError, LazyTensors

SCALE = "#scale"  # behind a tensor's name: the factors that it is multiplied by
_LEAST = 4096  # numbers; in 8 bits smaller arrays would save next to nothing


def packed(
    tensors: Mapping[str, Any], *, network: str, half: bool = False, int8: bool = False
) -> dict[str, np.ndarray]:
    """A network's parameters as they are written.

    Args:
        tensors: arrays by name.
        network: for the message.
        half: in float16.
        int8: kernels and tables in 8 bits; `half` is for the others.

    Raises:
        CheckpointError: a number that float16 cannot hold.
    """
    written: dict[str, np.ndarray] = {}
    for name, values in tensors.items():
        x = np.asarray(values)
        if int8 and x.ndim > 1 and x.size >= _LEAST and np.issubdtype(x.dtype, np.floating):
            written[name], written[name + SCALE] = rounded(x.astype(np.float32))
        else:
            written[name] = _halved(x, network) if half else x
    return written


def unpacked(tensors: LazyTensors) -> dict[str, np.ndarray]:
    """Parameters by name from what `packed` gave; those of 8 bits as float32, others as they lie in the file.

    Raises:
        CheckpointError: factors that do not fit what they are of.
    """
    read: dict[str, np.ndarray] = {}
    for name, lazy in tensors.arrays.items():
        of = name.removesuffix(SCALE)
        if of == name:
            read[name] = tensors[name]
        elif of not in tensors or tensors.arrays[of].dtype != np.int8:
            raise CheckpointError(f"{name} is of no tensor of 8 bits; download the file again")
        elif not _fits(lazy.shape, tensors.arrays[of].shape):
            raise CheckpointError(f"{name} does not fit what it is of; download the file again")
    for name in [name for name in read if name + SCALE in tensors]:
        read[name] = tensors[name + SCALE] * read[name].astype(np.float32)
    return read


def rounded(
    x: Float[np.ndarray, "..."],
) -> tuple[Int8[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """(whole numbers, factors that broadcast to them) of an array of two axes or more."""
    tried = []
    for kept in (x.ndim - 1, 0):
        others = tuple(axis for axis in range(x.ndim) if axis != kept)
        scale = np.abs(x).max(axis=others, keepdims=True) / np.float32(127)
        scale = np.where(scale > 0, scale, np.float32(1))
        whole = np.rint(x / scale)
        tried.append((np.square(whole * scale - x).sum(), whole.astype(np.int8), scale))
    _, whole, scale = min(tried, key=lambda one: one[0])
    return whole, scale


def _fits(scale: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(scale) == len(shape) and all(n in (1, m) for n, m in zip(scale, shape, strict=True))


def _halved(x: np.ndarray, network: str) -> np.ndarray:
    if not np.issubdtype(x.dtype, np.floating):
        return x
    if x.size and np.abs(x).max() > np.finfo(np.float16).max:
        raise CheckpointError(
            f"{network} has numbers that float16 cannot hold; write it without half"
        )
    return x.astype(np.float16)
