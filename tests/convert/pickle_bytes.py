"""Files of `torch.save` by hand, opcode by opcode: also such as PyTorch would never write."""

import io
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Mapping

import numpy as np


def plain(value) -> bytes:
    """A plain value pushed on the stack."""
    return pickle.dumps(value, 2)[2:-1]


def called(name: str, *arguments: bytes) -> bytes:
    """The result of `module name` called with what each of `arguments` pushes."""
    return f"c{name.replace(' ', chr(10))}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def storage(key: str, numel: int, kind: str = "FloatStorage", *view) -> bytes:
    """A reference to a storage; `view` is (key, offset, length) of the older format."""
    last = plain(view or None) if view or key.startswith("legacy") else b""
    head = plain("storage") + f"ctorch\n{kind}\n".encode()
    return b"(" + head + plain(key) + plain("cpu") + plain(numel) + last + b"tQ"


def tensor(key="0", numel=6, shape=(2, 3), strides=(3, 1), offset=0, kind="FloatStorage", view=()):
    """A tensor on a storage."""
    return called(
        "torch._utils _rebuild_tensor_v2",
        storage(key, numel, kind, *view),
        *(plain(offset), plain(shape), plain(strides), plain(False)),
        called("collections OrderedDict"),
    )


def dictionary(items: Mapping[str, bytes]) -> bytes:
    """A pickle of a dictionary of what each value pushes."""
    pushed = b"".join(plain(key) + value for key, value in items.items())
    return b"\x80\x02}(" + pushed + b"u."


def write_zip(
    path: pathlib.Path,
    content: bytes,
    storages: Mapping[str, np.ndarray | bytes],
    *,
    compression: int = zipfile.ZIP_STORED,
    **records: bytes,
) -> pathlib.Path:
    """The format since PyTorch 1.6; `records` beside the pickle by name."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        for name, record in records.items():
            archive.writestr(f"archive/{name}", record)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", bytes(data))
    return path


def write_legacy(
    path: pathlib.Path, content: bytes, storages: Mapping[str, np.ndarray]
) -> pathlib.Path:
    """The format before."""
    file = io.BytesIO()
    for head in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(head, file, 2)
    file.write(content)
    pickle.dump(sorted(storages), file, 2)
    for key in sorted(storages):
        file.write(struct.pack("<q", storages[key].size) + storages[key].tobytes())
    path.write_bytes(file.getvalue())
    return path
