"""Files of `torch.save`, read without PyTorch and without running anything that they ask for.

Two formats: since PyTorch 1.6 a zip of `data.pkl` and one record a storage; before, five pickles
one after another with the storages behind them. Both as in torch/serialization.py.
"""

import io
import mmap
import pathlib
import re
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from ldm_jax.convert.lazy import CheckpointError, LazyArray, LazyTensors, map_file
from ldm_jax.convert.unpickler import Opaque, Storage, load

WRAPPERS = ("state_dict", "model", "generator", "module", "params")
_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of the older format


def read_pickle(path: str | pathlib.Path) -> Any:
    """What `torch.save` wrote: containers of plain values, tensors and NumPy arrays as `LazyArray`.

    Objects of other classes (argparse namespaces, callbacks, optimisers) come as `Opaque`. No code
    of the file runs and no module is imported. Arrays are views of the mapped file, with their
    strides; a storage that several share is shared.

    Raises:
        CheckpointError: no such file, one of another kind, or a damaged one.
    """
    path = pathlib.Path(path)
    mapped = map_file(path)
    try:
        if mapped[:4] == b"PK\3\4":
            return _read_zip(path, mapped)
        if mapped[257:262] == b"ustar":
            raise CheckpointError(
                "it is in the tar format of PyTorch 0.1; load and save it by a newer one"
            )
        if mapped[:1] != b"\x80":
            raise CheckpointError("it is neither safetensors nor a file of torch.save")
        return _read_legacy(mapped)
    except CheckpointError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    except zipfile.BadZipFile:
        raise CheckpointError(
            f"{path} is a broken zip, cut short perhaps; download it again"
        ) from None
    except Exception as error:  # a damaged pickle fails in any way it likes
        raise CheckpointError(
            f"{path} is damaged ({type(error).__name__}: {error}); download it again"
        ) from None


def state_dict(path: str | pathlib.Path) -> tuple[LazyTensors, list[str]]:
    """The tensors of a file of `torch.save` by name, out of the wrappers put around them.

    Returns:
        The tensors of `{"state_dict": ...}`, `{"model": ...}`, `{"generator": ...}` (inwards as far
        as they go) or of a plain dictionary, and the names of all that was left out.

    Raises:
        CheckpointError: as `read_pickle`, or no dictionary of tensors is in it.
    """
    tree, prefix, left = _items(read_pickle(path)), "", []
    while key := next((key for key in WRAPPERS if _has_arrays(tree.get(key))), None):
        left += [f"{prefix}{other}" for other in tree if other != key]
        tree, prefix = _items(tree[key]), f"{prefix}{key}."
    arrays = {k: v for k, v in tree.items() if isinstance(k, str) and _is_array(v)}
    left += [f"{prefix}{key}" for key in tree if key not in arrays]
    if not arrays:
        what = f"but {', '.join(left[:8])}" if left else "in it"
        raise CheckpointError(f"{path} has no dictionary of tensors {what}; save a state_dict()")
    return LazyTensors(arrays), left


def _items(value: Any) -> Mapping[Any, Any]:
    if isinstance(value, Opaque):
        return value.mapping
    return value if isinstance(value, dict) else {}


def _is_array(value: Any) -> bool:
    return isinstance(value, LazyArray) and value.dtype != object


def _has_arrays(value: Any, depth: int = 4) -> bool:
    """Whether a dictionary holds tensors, itself or in further wrappers."""
    items = _items(value)
    return depth > 0 and (
        any(_is_array(item) for item in items.values())
        or any(_has_arrays(items.get(key), depth - 1) for key in WRAPPERS)
    )


def _read_zip(path: pathlib.Path, mapped: mmap.mmap) -> Any:
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        roots = [name[:-8] for name in entries if re.fullmatch(r"[^/]+/data\.pkl", name)]
        if len(roots) != 1:
            raise CheckpointError("it is a zip archive, but not one of torch.save")
        root = roots[0]
        if f"{root}constants.pkl" in entries:
            raise CheckpointError("it is a TorchScript program; save its state_dict() instead")
        content = archive.read(f"{root}data.pkl")
        order = archive.read(f"{root}byteorder") if f"{root}byteorder" in entries else b"little"

    def storage(dtype: np.dtype[Any], key: str, size: int) -> Storage:
        entry = entries.get(f"{root}data/{key}")
        if entry is None or entry.file_size < size:
            raise CheckpointError(f"storage {key} is missing or too short; download it again")
        if entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1:
            start = _start(entry, mapped)
            if start + size > len(mapped):
                raise CheckpointError(f"storage {key} is cut short; download it again")
            return Storage(
                dtype, size, lambda: memoryview(mapped)[start : start + size], order == b"big"
            )
        return Storage(dtype, size, lambda: _unpacked(path, entry), order == b"big")

    return load(io.BytesIO(content), storage)


def _start(entry: zipfile.ZipInfo, mapped: mmap.mmap) -> int:
    """Where an entry's bytes begin: behind its own header, whose length the directory lacks."""
    name, extra = struct.unpack_from("<HH", mapped, entry.header_offset + 26)
    return entry.header_offset + 30 + name + extra


def _unpacked(path: pathlib.Path, entry: zipfile.ZipInfo) -> bytes:
    """An entry that another program compressed; torch.save never does."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(entry)
    except Exception as error:  # of zipfile's own, of zlib's, NotImplementedError, RuntimeError
        raise CheckpointError(f"{path}: {entry.filename} is damaged ({error})") from None


def _read_legacy(mapped: mmap.mmap) -> Any:
    """Five pickles (magic number, version, machine, object, keys), then the storages' numbers.

    The data is little-endian whatever machine wrote it.
    """
    places: dict[str, int] = {}
    sizes: dict[str, int] = {}
    widths: dict[str, int] = {}

    def storage(dtype: np.dtype[Any], key: str, size: int) -> Storage:
        sizes[key] = max(size, sizes.get(key, 0))
        widths.setdefault(key, dtype.itemsize)
        return Storage(dtype, size, lambda: memoryview(mapped)[places[key] : places[key] + size])

    if load(mapped) != _MAGIC:
        raise CheckpointError("it is a pickle, but not one of torch.save")
    _version, _machine = load(mapped), load(mapped)
    tree = load(mapped, storage)
    keys = [str(key) for key in load(mapped)]
    position = mapped.tell()
    for key in keys:
        if key not in widths:
            raise CheckpointError(f"storage {key} is of a type that is not known")
        places[key] = position + 8
        position += 8 + struct.unpack_from("<q", mapped, position)[0] * widths[key]
        if not places[key] + sizes[key] <= position <= len(mapped):
            raise CheckpointError("it is cut short; download it again")
    if missing := sizes.keys() - places.keys():
        raise CheckpointError(f"storage {min(missing)} is missing; download it again")
    return tree
