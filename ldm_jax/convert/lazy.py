"""Arrays that stay in their file until they are read, and the errors of files that hold none."""

import mmap
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np

# By the names that PyTorch gives them; safetensors' are others for the same types.
DTYPES: dict[str, np.dtype[Any]] = {
    **{
        name: np.dtype(name)
        for name in (
            *("float64", "float32", "float16", "complex64", "complex128", "bool"),
            *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        )
    },
    **{
        name: np.dtype(getattr(ml_dtypes, name))
        for name in (
            "bfloat16",
            "float8_e4m3fn",
            "float8_e5m2",
            "float8_e4m3fnuz",
            "float8_e5m2fnuz",
        )
    },
}


class CheckpointError(ValueError):
    """Weights are missing, broken or not what they should be; the message says what to do."""


class LazyArray:
    """An array in a file: known `shape` and `dtype`, numbers by `read()`, anew each time."""

    __slots__ = ("_read", "dtype", "shape")

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], read: Callable[[], np.ndarray]
    ) -> None:
        self.shape, self.dtype, self._read = shape, dtype, read

    def read(self) -> np.ndarray:
        """The array: a read-only view of the mapped file wherever the file allows it."""
        return self._read()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.read(), dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        return f"LazyArray(shape={self.shape}, dtype={self.dtype})"

    def __setstate__(self, state: object) -> None:
        """Does nothing: a hostile pickle must not change an array whose bounds were checked."""


class LazyTensors(Mapping[str, np.ndarray]):
    """Arrays by name, each read when it is asked for.

    Attributes:
        arrays: the same unread, for shapes and types.
    """

    def __init__(self, arrays: Mapping[str, LazyArray]) -> None:
        self.arrays = dict(arrays)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name].read()

    def __contains__(self, name: object) -> bool:
        return name in self.arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


def map_file(path: pathlib.Path) -> mmap.mmap:
    """The bytes of a file of weights, not yet read.

    Raises:
        CheckpointError: no such file, or one that often lies where weights should be: empty, a
            git-lfs pointer, a web page.
    """
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                raise CheckpointError(f"{path} is empty; download it again")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    start = mapped[:200].lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path} is a git-lfs pointer, not the weights; run `git lfs pull` where it was cloned,"
            " or download it with `hf download`"
        )
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise CheckpointError(
            f"{path} is a web page, not weights; download the file itself (on the Hub the link"
            " with /resolve/, not /blob/)"
        )
    return mapped


def release_pages(x: np.ndarray) -> None:
    """Lets the system drop a mapped file's pages from memory, if `x` is a view of one; they can be read again."""
    base: Any = x
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
