"""A reader of pickles that runs nothing.

A tensor in a pickle is a call of `torch._utils._rebuild_tensor_v2(storage, offset, shape, strides,
...)`, and a pickle may call anything. Here no global is imported or looked up: each becomes an
`Opaque` class of its own, which keeps what it is given, and the few names that stand for arrays and
plain containers are answered by the functions of `_KNOWN`.
"""

import pickle
import pickletools
import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ldm_jax.convert.lazy import DTYPES, CheckpointError, LazyArray
from ldm_jax.convert.safetensors_file import swapped

_STORAGES = {
    **{"Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16"},
    **{"Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8"},
    **{"ComplexFloat": "complex64", "ComplexDouble": "complex128", "Bool": "bool"},
    "Untyped": "uint8",
    # Quantised tensors stay shut, but the older format must step over their numbers.
    **{"QInt8": "int8", "QUInt8": "uint8", "QInt32": "int32"},
}


class Opaque:
    """Stands for an object that is not read: keeps what the pickle gave it and runs nothing.

    Attributes:
        name: module and name of its class, or of the function that would have made it.
        arguments: what that was called with.
        state: what would have become its attributes.
        mapping, sequence: items, where it is like a dictionary, a list or a set.
    """

    name = ""
    arguments: tuple[Any, ...]
    state: Any
    mapping: dict[Any, Any]
    sequence: list[Any]

    def __new__(cls, *arguments: Any, **keywords: Any) -> Any:
        """What a function of `_KNOWN` makes of the arguments, else an object that keeps them."""
        if known := _KNOWN.get(cls.name):
            try:
                return known(*arguments, **keywords)
            except CheckpointError:
                raise
            except (TypeError, ValueError):
                pass  # a call in another form than is known: kept like any other
        self = super().__new__(cls)
        self.arguments = (*arguments, keywords) if keywords else arguments
        self.state, self.mapping, self.sequence = None, {}, []
        return self

    def __call__(self, *arguments: Any, **keywords: Any) -> "Opaque":
        """Another that keeps the arguments: hostile pickles call what calls return."""
        return Opaque(self, *arguments, **keywords)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.mapping[key] = value

    def append(self, value: Any) -> None:
        """Takes an item, as a list would."""
        self.sequence.append(value)

    add = append

    def __repr__(self) -> str:
        return f"<{self.name or 'result of a call'}, not read>"


class Storage(NamedTuple):
    """The bytes under one or more tensors; immutable, because the pickle can reach it."""

    dtype: np.dtype[Any]
    size: int  # bytes
    read: Callable[[], Any]
    big_endian: bool = False


def load(file: Any, storage: Callable[[np.dtype[Any], str, int], Storage] | None = None) -> Any:
    """Reads one pickle from `file` and leaves it behind that pickle's end.

    `storage` finds a storage by type, key and size in bytes.
    """
    start = file.tell()
    for opcode, argument, position in pickletools.genops(file):
        # The C reader makes room for any number that a memo is to have, as large as memory or not.
        if "PUT" in opcode.name and (argument or 0) > (position or 0):
            raise ValueError(f"memo {argument} at byte {position}")
        if opcode.name.startswith("EXT"):
            raise ValueError("an extension code")  # stands for a class that this process knows
    file.seek(start)
    return _Unpickler(file, storage).load()


class _Unpickler(pickle.Unpickler):
    def __init__(
        self, file: Any, storage: Callable[[np.dtype[Any], str, int], Storage] | None
    ) -> None:
        super().__init__(file, encoding="latin1")  # keeps the bytes of Python 2's strings
        self._storage = storage

    def find_class(self, module: str, name: str) -> type[Opaque]:
        """A new `Opaque` class of that name."""
        return type(name, (Opaque,), {"__module__": module, "name": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Any:
        """The storage that ("storage", type, key, device, length, ...) means."""
        if self._storage is None or not isinstance(pid, tuple) or len(pid) < 2:
            raise CheckpointError("it refers to something outside of the file")
        if pid[0] == "module":
            return pid[1]  # the class of a module that was saved whole, with its source
        _, kind, key, _, numel, *view = pid
        name = getattr(kind, "name", "").rpartition(".")[2]
        known = _STORAGES.get(name.removesuffix("Storage"))
        if known is None or type(numel) is not int or numel < 0:
            return Opaque(*pid)  # so are then its tensors
        dtype = DTYPES[known]
        storage = self._storage(dtype, str(key), numel * dtype.itemsize)
        return _part(storage, *view[0]) if view and view[0] else storage


def _part(storage: Storage, key: Any, offset: int, numel: int) -> Storage:
    """A view of another storage, as PyTorch before 1.6 could name one."""
    first, last = (n * storage.dtype.itemsize for n in (offset, offset + numel))
    if not 0 <= first <= last <= storage.size:
        raise CheckpointError("a storage reaches beyond another; the file is damaged")
    return storage._replace(size=last - first, read=lambda: memoryview(storage.read())[first:last])


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *, dtype: np.dtype[Any] | None = None
) -> LazyArray:
    """`_rebuild_tensor`; `offset` and `strides` count numbers, not bytes."""
    if not isinstance(storage, Storage) or len(shape) != len(strides):
        raise TypeError("not a dense tensor")
    if not all(type(n) is int and n >= 0 for n in (offset, *shape, *strides)):
        raise CheckpointError("a tensor has an impossible shape; the file is damaged")
    kind, shape, empty = dtype or storage.dtype, tuple(shape), 0 in shape
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if not empty and (last + 1) * kind.itemsize > storage.size:
        raise CheckpointError("a tensor reaches beyond its storage; the file is damaged")
    start = 0 if empty else offset * kind.itemsize
    steps = [step * kind.itemsize for step in strides]

    def read() -> np.ndarray:
        raw = storage.read()
        if storage.big_endian != (sys.byteorder == "big") and not empty:
            raw = swapped(np.frombuffer(raw, kind)).view(np.uint8).data
        return np.ndarray(shape, kind, buffer=raw, offset=start, strides=steps)

    return LazyArray(shape, kind, read)


def _tensor_v2(
    storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, bits: Any = None
) -> LazyArray:
    """`_rebuild_tensor_v2`; `bits` mark a conjugate or negative view."""
    if bits:
        raise TypeError("a view that is not read")
    return _tensor(storage, offset, shape, strides)


def _tensor_v3(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    grad: Any,
    hooks: Any,
    dtype: Any,
    bits: Any = None,
) -> LazyArray:
    """`_rebuild_tensor_v3`, for the types that have no storage class of their own."""
    known = DTYPES.get(getattr(dtype, "name", "").removeprefix("torch."))
    if bits or known is None:
        raise TypeError("a view or type that is not read")
    return _tensor(storage, offset, shape, strides, dtype=known)


def _first(data: Any, *rest: Any) -> Any:
    """A parameter is its tensor."""
    return data


def _of_subclass(make: Any, kind: Any, arguments: Any, state: Any) -> Any:
    """A tensor with attributes, or of a subclass, is the tensor that `make` makes."""
    if not (isinstance(make, type) and issubclass(make, Opaque)):
        raise TypeError("not a function")
    return make(*arguments)


class _OrderedDict(dict):
    """An OrderedDict without the attributes that pickles hang on it (`_metadata`)."""

    def __setstate__(self, state: object) -> None:
        pass


class _NumpyArray(LazyArray):
    """An array that NumPy pickled: `_reconstruct` makes it empty, its state then fills it."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        _, shape, opaque, column_major, raw = state
        dtype = _numpy_dtype(opaque)
        if dtype is None:
            return  # Python objects, strings, records
        x = np.frombuffer(_as_bytes(raw), dtype).reshape(shape, order="F" if column_major else "C")
        x = x.astype(dtype.newbyteorder("="))
        self.shape, self.dtype, self._read = x.shape, x.dtype, lambda: x


def _numpy_array(*arguments: Any) -> _NumpyArray:
    def read() -> np.ndarray:
        raise CheckpointError("an array of other things than numbers is not read")

    return _NumpyArray((0,), np.dtype(object), read)


def _numpy_dtype(opaque: Any) -> np.dtype[Any] | None:
    """The type that a pickled `numpy.dtype` means, if it is one of plain numbers."""
    if getattr(opaque, "name", "") != "numpy.dtype" or not opaque.arguments:
        return None
    code = str(opaque.arguments[0])
    if not re.fullmatch(r"f[248]|[iu][1248]|b1|c8|c16", code):
        return None
    order = opaque.state[1] if isinstance(opaque.state, tuple) and len(opaque.state) > 1 else "="
    return np.dtype(code).newbyteorder(order if order in ("<", ">") else "=")


def _numpy_scalar(opaque: Any, raw: Any = b"") -> Any:
    dtype, data = _numpy_dtype(opaque), _as_bytes(raw)
    if dtype is None or len(data) != dtype.itemsize:
        raise TypeError("not a number")
    return np.frombuffer(data, dtype)[0].item()


def _as_bytes(raw: Any) -> bytes:
    """Bytes, also where Python 2 wrote a string."""
    if isinstance(raw, str):
        return raw.encode("latin1")
    if not isinstance(raw, bytes):
        raise TypeError("not bytes")
    return raw


def _encoded(text: Any, encoding: Any = None) -> bytes:
    """Bytes are `_codecs.encode(text, "latin1")` in pickles of protocol 2."""
    if encoding != "latin1":
        raise TypeError("not bytes")
    return _as_bytes(text)


_KNOWN: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _OrderedDict,
    "_codecs.encode": _encoded,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_device_tensor_from_numpy": _first,
    "torch._utils._rebuild_xla_tensor": _first,
    "torch._tensor._rebuild_from_type_v2": _of_subclass,
    "torch.nn.parameter.Parameter": _first,
    "torch.Size": lambda sizes=(): tuple(sizes),
    "torch.device": lambda kind, index=None: str(kind) if index is None else f"{kind}:{index}",
    "builtins.set": set,
    "__builtin__.set": set,
    "builtins.complex": complex,
    **{
        f"numpy.{core}.multiarray.{name}": function
        for core in ("core", "_core")
        for name, function in (("scalar", _numpy_scalar), ("_reconstruct", _numpy_array))
    },
}
