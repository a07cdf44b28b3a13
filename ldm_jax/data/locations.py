"""The kinds of `Location`: a file, a part of a file, a cell of a Parquet file, a record of an array_record file.

All are small, picklable and hold no open file: what is opened often is kept open by the functions below, once
a process.
"""

import dataclasses
import functools
import io
import os
import zlib
from typing import Any

import numpy as np

SIXTEEN_BITS = 2**15


@dataclasses.dataclass(frozen=True)
class AudioFile:
    """A plain file."""

    path: str

    def open(self) -> io.BufferedIOBase:
        """The file, from its first byte."""
        return open(self.path, "rb")

    def __str__(self) -> str:
        return self.path


@dataclasses.dataclass(frozen=True)
class FilePart:
    """`size` bytes at `offset` of a file that is not compressed, such as a member of a tar archive."""

    path: str
    offset: int
    size: int
    member: str

    def open(self) -> io.BufferedIOBase:
        """The part as a stream of its own; nothing beyond it is seen."""
        return io.BufferedReader(_Window(self.path, self.offset, self.size))

    def __str__(self) -> str:
        return f"{self.path}: {self.member}"


@dataclasses.dataclass(frozen=True)
class ParquetCell:
    """A whole audio file in one row of a Parquet file: `column` is binary, or a struct with a field `bytes`."""

    path: str
    column: str
    group: int
    row: int  # in its group

    def open(self) -> io.BufferedIOBase:
        """The cell's bytes. The group they are in is read at once and kept for the next cell."""
        import pyarrow

        try:
            cell = _parquet_column(self.path, self.column, self.group)[self.row].as_py()
        except (pyarrow.ArrowException, IndexError) as error:
            raise OSError(f"{self} cannot be read: {error}") from None
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if content is None:
            raise OSError(f"{self} is empty")
        return io.BytesIO(content)

    def __str__(self) -> str:
        return f"{self.path}: row {self.row} of group {self.group}"


@dataclasses.dataclass(frozen=True)
class RecordAudio:
    """A feature of a `tf.train.Example` in an array_record file: the bytes of an audio file, or samples.

    Attributes:
        path: of the file.
        record: its number, from 0.
        feature: as the example names it, with "/" between levels.
        sample_rate: of samples, in Hz; None where the feature holds an audio file.
        channels: of samples, which stand next to each other.
        dtype: of samples that are stored as bytes, as in "int16"; "" where they are stored as numbers.
        compressed: whether these bytes are compressed by zlib.
    """

    path: str
    record: int
    feature: str
    sample_rate: int | None = None
    channels: int = 1
    dtype: str = ""
    compressed: bool = False

    def open(self) -> io.BufferedIOBase:
        """The audio file; samples come as a WAV file of 16 or 32 bits or float32, without loss but for float64."""
        feature = example_features(read_record(self.path, self.record)).get(self.feature)
        if feature is None:
            raise OSError(f"{self} has no feature {self.feature}")
        if self.sample_rate is None:
            return io.BytesIO(feature.bytes_list.value[0])
        samples = _samples(feature, self.dtype, self.compressed)
        return io.BytesIO(_as_wav(samples, self.channels, self.sample_rate))

    def __str__(self) -> str:
        return f"{self.path}: record {self.record}"


def record_count(path: str) -> int:
    """How many records an array_record file has.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return _record_reader(path).num_records()
    except (ValueError, RuntimeError, IndexError) as error:
        raise OSError(f"{path} cannot be read as array_record: {error}") from None


def read_record(path: str, record: int) -> bytes:
    """One record of an array_record file.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return _record_reader(path).read([record])[0]
    except (ValueError, RuntimeError, IndexError) as error:
        raise OSError(f"{path}, record {record} cannot be read: {error}") from None


def example_features(record: bytes) -> Any:
    """Name -> `tf.train.Feature` of a serialised `tf.train.Example`.

    Raises:
        OSError: it is no such thing.
    """
    from google.protobuf.message import DecodeError
    from tensorflow_datasets.proto import tf_example_pb2

    example: Any = tf_example_pb2  # its classes are made when it is imported

    try:
        return example.Example.FromString(record).features.feature
    except DecodeError:
        raise OSError("the record is not a tf.train.Example") from None


@functools.lru_cache(maxsize=32)
def _record_reader(path: str) -> Any:
    from array_record.python.array_record_module import ArrayRecordReader

    os.stat(path)  # its own message says less
    reader = ArrayRecordReader(path, options="readahead_buffer_size:0")
    if not reader.ok():  # it counts no records then, and says why when it is closed
        reader.close()
    return reader


@functools.lru_cache(maxsize=2)
def _parquet_column(path: str, column: str, group: int) -> Any:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        return file.read_row_group(group, columns=[column]).column(0).combine_chunks()


def _samples(feature: Any, dtype: str, compressed: bool) -> np.ndarray:
    if feature.HasField("int64_list"):
        return np.asarray(feature.int64_list.value, np.int64)
    if feature.HasField("float_list"):
        return np.asarray(feature.float_list.value, np.float32)
    try:
        content = feature.bytes_list.value[0]
        return np.frombuffer(zlib.decompress(content) if compressed else content, dtype)
    except (zlib.error, ValueError, TypeError, IndexError) as error:
        raise OSError(f"the samples cannot be unpacked: {error}") from None


def _as_wav(samples: np.ndarray, channels: int, rate: int) -> bytes:
    """Integers keep their values: as 16 bits where all fit, or else 32, of which full scale is 2^31."""
    import soundfile

    if samples.dtype.kind == "f":
        samples = samples.astype(np.float32)
        subtype = "FLOAT"
    else:
        fits = not len(samples) or -SIXTEEN_BITS <= samples.min() <= samples.max() < SIXTEEN_BITS
        samples = samples.astype(np.int16 if fits else np.int32)
        subtype = "PCM_16" if fits else "PCM_32"
    file = io.BytesIO()
    soundfile.write(file, samples.reshape(-1, channels), rate, format="WAV", subtype=subtype)
    return file.getvalue()


class _Window(io.RawIOBase):
    """A part of a file as a seekable stream."""

    def __init__(self, path: str, offset: int, size: int):
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 (closed with the window)
        self._offset, self._size, self._at = offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(f"cannot seek to {base + offset}")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: max(0, self._size - self._at)]
        self._file.seek(self._offset + self._at)
        read = self._file.readinto(view) or 0
        self._at += read
        return read

    def close(self) -> None:
        self._file.close()
        super().close()
