"""TensorFlow's checkpoints by hand: also such as TensorFlow would never write. It reads them (`tests/parity`)."""

import pathlib
import struct
from collections.abc import Mapping

import numpy as np

from ldm_jax.convert.tf_bundle import _DTYPES, _masked_crc

TYPES = {dtype: number for number, dtype in _DTYPES.items()}
HEADER = b"\x08\x01\x1a\x02\x08\x01"  # one data file, little-endian, version 1


def write(
    folder: pathlib.Path, tensors: Mapping[str, np.ndarray], *, stem: str = "", **options
) -> pathlib.Path:
    """`.index` and `.data-00000-of-00001` of arrays; options as of `index`."""
    folder.mkdir(parents=True, exist_ok=True)
    data, entries = b"", {}
    for name in sorted(tensors):
        x = np.asarray(tensors[name], order="C")
        entries[name.encode()] = entry(TYPES[x.dtype], x.shape, len(data), x.tobytes())
        data += x.tobytes()
    (folder / f"{stem}.data-00000-of-00001").write_bytes(data)
    (folder / f"{stem}.index").write_bytes(index(entries, **options))
    return folder


def index(
    entries: Mapping[bytes, bytes], *, header: bytes = HEADER, kind: int = 0, per_block: int = 30
) -> bytes:
    """The sorted table of names and protocol buffers, `per_block` of them in a block."""
    pairs = [(b"", header), *sorted(entries.items())]
    content, handles = b"", []
    for start in range(0, len(pairs), per_block):
        part = pairs[start : start + per_block]
        handles.append((part[-1][0], number(len(content)) + number(len(plain_block(part)))))
        content += block(part, kind)
    rest = number(len(content)) + number(len(plain_block([])))
    content += block([], 0)
    rest += number(len(content)) + number(len(plain_block(handles)))
    return (
        content + block(handles, kind) + rest.ljust(40, b"\0") + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
    )


def plain_block(pairs) -> bytes:
    """Keys without what they share with the one before; each 16th is whole."""
    made, restarts, last = b"", [0], b""
    for i, (key, value) in enumerate(pairs):
        shared = 0
        if i % 16 == 0:
            restarts += [len(made)] if i else []
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        made += number(shared) + number(len(key) - shared) + number(len(value))
        made += key[shared:] + value
        last = key
    return made + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def block(pairs, kind: int) -> bytes:
    """With its kind (0 is not compressed) and its checksum."""
    made = plain_block(pairs) + bytes([kind])
    return made + struct.pack("<I", _masked_crc(made))


def entry(dtype: int, shape: tuple[int, ...], offset: int, data: bytes, more: bytes = b"") -> bytes:
    """A BundleEntryProto."""
    axes = b"".join(field(2, b"\x08" + number(size) if size else b"") for size in shape)
    made = b"\x08" + number(dtype) + field(2, axes)
    made += b"\x20" + number(offset) if offset else b""
    made += b"\x28" + number(len(data)) if data else b""
    return made + b"\x35" + struct.pack("<I", _masked_crc(data)) + more


def field(tag: int, content: bytes) -> bytes:
    """A field of bytes."""
    return number(tag << 3 | 2) + number(len(content)) + content


def number(value: int) -> bytes:
    """Seven bits a byte, lowest first."""
    made = b""
    while value > 127:
        made += bytes([value & 127 | 128])
        value >>= 7
    return made + bytes([value])
