"""One `.safetensors` file: read as views of the mapped file, written a tensor at a time.

The format: eight bytes, the little-endian length of a JSON header; the header, name -> {dtype,
shape, data_offsets}; the tensors' bytes, little-endian and row-major. The safetensors package reads
and writes the same, but returns copies of what it reads and needs every tensor in memory to write;
a system of 7 GB should need neither.
"""

import json
import math
import operator
import os
import pathlib
import struct
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from ldm_jax.convert.lazy import DTYPES, CheckpointError, LazyArray, LazyTensors, map_file

_LARGEST_HEADER = 100_000_000  # the format's own bound
_CODES = {
    **{
        "F64": "float64",
        "F32": "float32",
        "F16": "float16",
        "BF16": "bfloat16",
        "C64": "complex64",
    },
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "BOOL": "bool"},
    **{"U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8"},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"},
}
_CODE_OF = {DTYPES[name]: code for code, name in _CODES.items()}


def is_safetensors(start: bytes) -> bool:
    """Whether a file that begins so (nine bytes) can be one."""
    return (
        len(start) >= 9
        and start[8:9] == b"{"
        and struct.unpack_from("<Q", start)[0] <= _LARGEST_HEADER
    )


def read_safetensors(path: pathlib.Path) -> tuple[LazyTensors, dict[str, str]]:
    """The tensors of a file, unread, and its metadata.

    Raises:
        CheckpointError: not safetensors, cut short, or of a type that NumPy lacks.
    """
    mapped = map_file(path)
    if not is_safetensors(mapped[:9]):
        raise CheckpointError(f"{path} is not a safetensors file; download it again")
    start = 8 + struct.unpack_from("<Q", mapped)[0]
    if start > len(mapped):
        raise CheckpointError(f"{path} is cut short within its header; download it again")
    try:
        header = json.loads(mapped[8:start])
        metadata = dict(header.pop("__metadata__", None) or {})
        entries = {name: _parsed(entry) for name, entry in header.items()}
        end = start + max((last for *_, last in entries.values()), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise CheckpointError(f"{path} has a broken header; download it again") from None
    if end > len(mapped):
        raise CheckpointError(
            f"{path} is cut short: {len(mapped)} of {end} bytes are there; download it again"
        )
    arrays = {}
    for name, (code, shape, first, last) in entries.items():
        if code not in _CODES:
            raise CheckpointError(f"{path}: {name} has type {code}, which NumPy cannot hold")
        dtype = DTYPES[_CODES[code]]
        size = math.prod(shape) * dtype.itemsize
        if first < 0 or min(shape, default=0) < 0 or last - first != size:
            raise CheckpointError(
                f"{path}: {name} should have {size} bytes; download the file again"
            )
        arrays[name] = _view(mapped, start + first, shape, dtype)
    return LazyTensors(arrays), metadata


def _parsed(entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Type, shape and extent from an entry of a header."""
    first, last = map(operator.index, entry["data_offsets"])
    return str(entry["dtype"]), tuple(map(operator.index, entry["shape"])), first, last


def _view(mapped: Any, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> LazyArray:
    def read() -> np.ndarray:
        x = np.ndarray(shape, dtype, buffer=mapped, offset=offset)
        return x if sys.byteorder == "little" else swapped(x)

    return LazyArray(shape, dtype, read)


def swapped(x: np.ndarray) -> np.ndarray:
    """A copy with the bytes of each number in the other order; ml_dtypes' types included."""
    unit = x.dtype.itemsize // (2 if x.dtype.kind == "c" else 1)
    flat = np.ascontiguousarray(x).reshape(-1)
    return flat.view(f"u{unit}").byteswap().view(x.dtype).reshape(x.shape)


def check_storable(tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Raises ValueError naming what a safetensors file cannot hold."""
    for name, value in tensors.items():
        if np.dtype(value.dtype).newbyteorder("=") not in _CODE_OF:
            raise ValueError(f"{name} has type {value.dtype}, which safetensors cannot hold")
    if wrong := [key for key, value in metadata.items() if not isinstance(value, str)]:
        raise ValueError(f"metadata must be strings: {', '.join(map(str, wrong))}")


def write_safetensors(
    path: pathlib.Path, tensors: Mapping[str, Any], metadata: Mapping[str, str]
) -> None:
    """Writes arrays (NumPy or JAX) that passed `check_storable` to `path`, one after another."""
    # Widest numbers first, so that every tensor is aligned; then by name, so that equal content is
    # equal bytes.
    dtypes = {name: np.dtype(value.dtype).newbyteorder("=") for name, value in tensors.items()}
    names = sorted(tensors, key=lambda name: (-dtypes[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name in names:
        shape = tensors[name].shape
        first, end = end, end + math.prod(shape) * dtypes[name].itemsize
        header[name] = {
            "dtype": _CODE_OF[dtypes[name]],
            "shape": list(shape),
            "data_offsets": [first, end],
        }
    content = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    content += b" " * (-len(content) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(content)) + content)
        for name in names:
            x = np.asarray(tensors[name])
            little = x.dtype.byteorder == "<" or (
                x.dtype.byteorder != ">" and sys.byteorder == "little"
            )
            x = x if little else swapped(x)
            file.write(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data)
        file.flush()
        os.fsync(file.fileno())
