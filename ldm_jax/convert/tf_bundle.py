"""TensorFlow's checkpoints of the second version, `NAME.index` with `NAME.data-00000-of-00001`, without TensorFlow.

The data file holds the numbers end to end. The index is a sorted table of LevelDB: blocks of (key, value) pairs, of
which each key leaves out what it shares with the one before it; a block that lists the blocks; a footer that says
where that is. Keys are names of tensors; values are protocol buffers (BundleEntryProto in
tensorflow/core/protobuf/tensor_bundle.proto) with type, shape, offset and size. The empty key has the header.
"""

import dataclasses
import hashlib
import math
import pathlib
import struct
import zipfile
from collections.abc import Iterator

import ml_dtypes
import numpy as np

from ldm_jax.convert.lazy import CheckpointError, LazyArray, LazyTensors, map_file

_INDEX, _DATA = ".index", ".data-00000-of-00001"
_MAGIC = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
_FOOTER = 48
# By the numbers of tensorflow/core/framework/types.proto; tensors of other types (strings) are left out.
_DTYPES = {
    1: np.dtype(np.float32),
    2: np.dtype(np.float64),
    3: np.dtype(np.int32),
    4: np.dtype(np.uint8),
    5: np.dtype(np.int16),
    6: np.dtype(np.int8),
    9: np.dtype(np.int64),
    10: np.dtype(np.bool_),
    14: np.dtype(ml_dtypes.bfloat16),
    17: np.dtype(np.uint16),
    19: np.dtype(np.float16),
    22: np.dtype(np.uint32),
    23: np.dtype(np.uint64),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bundle:
    """A checkpoint's two files.

    Attributes:
        source: what to call it in errors.
        index: the bytes of one.
        data: the bytes of the other, mapped where they lie on disk as they are.
    """

    source: str
    index: bytes
    data: memoryview

    @property
    def sha256(self) -> str:
        """Of the data, in hexadecimal, wherever they lie."""
        return hashlib.sha256(self.data).hexdigest()

    def tensors(self) -> LazyTensors:
        """The arrays by name; views of the data.

        Raises:
            CheckpointError: a damaged index, data that are cut short, or a checkpoint of several data files.
        """
        try:
            return LazyTensors(dict(self._arrays()))
        except CheckpointError as error:
            raise CheckpointError(f"{self.source} cannot be read: {error}") from None
        except (IndexError, struct.error, ValueError, OverflowError) as error:
            raise CheckpointError(
                f"{self.source}: its index is damaged ({error}); download it again"
            ) from None

    def _arrays(self) -> Iterator[tuple[str, LazyArray]]:
        for key, value in _table(self.index):
            fields = dict(_message(value))  # the last of a repeated field, as of a single one
            if not key:
                if fields.get(1, 1) != 1 or fields.get(2, 0) != 0:
                    raise CheckpointError("it has several data files, or is big-endian")
                continue
            if 7 in fields:
                raise CheckpointError(f"{key.decode()} is stored in slices")
            if (dtype := _DTYPES.get(_whole(fields.get(1, 0)))) is None:
                continue
            shape = _shape(fields.get(2, b""))
            offset, size = _whole(fields.get(4, 0)), _whole(fields.get(5, 0))
            if size != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"{key.decode()} has {size} bytes for {shape} of {dtype}")
            if offset + size > len(self.data):
                raise CheckpointError(
                    f"{key.decode()} ends at byte {offset + size:,} of {len(self.data):,}; the data are cut short"
                    " or of another checkpoint: download both again"
                )
            yield key.decode(), self._array(shape, dtype.newbyteorder("<"), offset)

    def _array(self, shape: tuple[int, ...], dtype: np.dtype, offset: int) -> LazyArray:
        def read() -> np.ndarray:
            flat = np.frombuffer(self.data, dtype, count=math.prod(shape), offset=offset)
            return flat.reshape(shape)

        return LazyArray(shape, dtype, read)


def open_bundle(path: str | pathlib.Path, *, within: str = "") -> Bundle:
    """The checkpoint of a folder, or of one that lies in a zip such as a wheel.

    Args:
        path: a folder that holds one `.index` with its data, or that has a folder `within` of that kind; or a zip.
        within: the name of the checkpoint's folder in the zip, wherever it lies in it.

    Raises:
        CheckpointError: nothing of the kind there, several, or a file that cannot be read.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        folder = path / within if within and (path / within).is_dir() else path
        stem = _stem([file.name for file in folder.iterdir()], str(folder))
        index = bytes(map_file(folder / f"{stem}{_INDEX}"))
        data = memoryview(map_file(folder / f"{stem}{_DATA}"))
        return Bundle(source=str(folder), index=index, data=data)
    if map_file(path)[:4] != b"PK\3\4":
        raise CheckpointError(
            f"{path} is no checkpoint of TensorFlow; give the folder that holds {_INDEX} and {_DATA},"
            " or the wheel with it"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            names = [pathlib.PurePosixPath(name) for name in archive.namelist()]
            inner = [name for name in names if name.parent.name == within]
            stem = _stem([name.name for name in inner], f"{path} ({within})")
            parent = inner[0].parent
            index, data = (archive.read(f"{parent}/{stem}{end}") for end in (_INDEX, _DATA))
    except CheckpointError:
        raise
    except Exception as error:  # of zipfile's own, of zlib's, NotImplementedError, RuntimeError
        raise CheckpointError(
            f"{path} is a broken zip, cut short perhaps ({error}); download it again"
        ) from None
    return Bundle(source=f"{path} ({within})", index=index, data=memoryview(data))


def _stem(names: list[str], place: str) -> str:
    """What comes before `.index`, which may be nothing."""
    stems = [name.removesuffix(_INDEX) for name in names if name.endswith(_INDEX)]
    if len(stems) != 1:
        there = f"{len(stems)} files that end in {_INDEX}" if stems else f"no {_INDEX}"
        raise CheckpointError(f"{place} has {there}; a checkpoint of TensorFlow has one")
    if f"{stems[0]}{_DATA}" not in names:
        raise CheckpointError(f"{place} has no {stems[0]}{_DATA}; download the rest")
    return stems[0]


def _table(index: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) pairs of a sorted table."""
    footer = index[-_FOOTER:]
    if len(footer) < _FOOTER or footer[-len(_MAGIC) :] != _MAGIC:
        raise CheckpointError(
            "its index does not end as one of TensorFlow does, cut short perhaps; download it again"
        )
    place = 0
    for _ in range(2):  # of a block that is not needed
        _, place = _varint(footer, place)
    for _, handle in _block(index, *_handle(footer, place)):
        yield from _block(index, *_handle(handle, 0))


def _handle(b: bytes, place: int) -> tuple[int, int]:
    offset, place = _varint(b, place)
    return offset, _varint(b, place)[0]


def _block(index: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    kind, checksum = struct.unpack_from("<BI", index, offset + size)
    if _masked_crc(index[offset : offset + size + 1]) != checksum:
        raise ValueError(f"wrong checksum at byte {offset}")
    if kind != 0:
        raise CheckpointError("its index is compressed, which TensorFlow does not do")
    block = index[offset : offset + size]
    (restarts,) = struct.unpack("<I", block[-4:])
    end, place, key = size - 4 - 4 * restarts, 0, b""
    while place < end:
        shared, place = _varint(block, place)
        own, place = _varint(block, place)
        length, place = _varint(block, place)
        key = key[:shared] + block[place : place + own]
        place += own
        yield key, block[place : place + length]
        place += length


def _message(b: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of a protocol buffer's fields."""
    place = 0
    while place < len(b):
        tag, place = _varint(b, place)
        if (kind := tag & 7) == 0:
            value, place = _varint(b, place)
        elif kind in (1, 2, 5):
            length = {1: 8, 5: 4}.get(kind)
            if length is None:
                length, place = _varint(b, place)
            value, place = b[place : place + length], place + length
        else:
            raise ValueError(f"a field of kind {kind}")
        yield tag >> 3, value


def _shape(message: int | bytes) -> tuple[int, ...]:
    """Of a TensorShapeProto: fields 2 are the axes, in each of which field 1 is the length."""
    axes = [axis for number, axis in _message(_bytes(message)) if number == 2]
    return tuple(_whole(dict(_message(_bytes(axis))).get(1, 0)) for axis in axes)


def _whole(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("bytes where a number should be")
    return value


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where bytes should be")
    return value


def _varint(b: bytes, place: int) -> tuple[int, int]:
    """(a number of seven bits a byte, lowest first; where it ends)."""
    value = shift = 0
    while True:
        value |= (b[place] & 127) << shift
        shift += 7
        place += 1
        if b[place - 1] < 128:
            return value, place


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC = _crc_table()


def _masked_crc(b: bytes) -> int:
    """CRC-32C (Castagnoli), rotated by 15 bits and with a constant added, as LevelDB stores it."""
    crc = 0xFFFFFFFF
    for byte in b:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
