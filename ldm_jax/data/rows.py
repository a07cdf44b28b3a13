"""Rows of a prepared dataset: what stands in each record of its `array_record` files.

The files are those of a TFDS builder, written and read without TensorFlow: `tfds.data_source(name, data_dir=...)`
reads them too.
"""

import dataclasses
import functools
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One prepared clip.

    Attributes:
        audio: a whole FLAC or Opus file, mono, at `sample_rate`.
        sample_rate: in Hz.
        samples: in `audio`.
        peak: largest magnitude, full scale 1.
        loudness: level of the whole clip in dBFS (10 log10 of the mean square).
        hash: BLAKE2b, 128 bits in hexadecimal, of the samples as 16-bit little-endian integers before `audio` was
            encoded: equal for equal sound, whatever file it came in.
        name: unique in the dataset; a clip that was cut up has "#0", "#1" ... behind it.
        captions: as of `Clip`, and so `transcript`, `labels`, `kind`, `language`, `speaker`, `licence`, `origin`,
            `quality`, `group`.
        start: in the source's file, in seconds.
    """

    audio: bytes
    sample_rate: int
    samples: int
    peak: float
    loudness: float
    hash: str
    name: str
    captions: tuple[str, ...]
    transcript: str
    labels: tuple[str, ...]
    kind: str
    language: str
    speaker: str
    licence: str
    origin: str
    quality: int
    group: str
    start: float

    @property
    def seconds(self) -> float:
        """How long it sounds."""
        return self.samples / self.sample_rate


@functools.cache
def features() -> Any:
    """The `tfds.features.FeaturesDict` of a row."""
    import tensorflow_datasets as tfds

    kinds = {
        bytes: lambda: tfds.features.Tensor(shape=(), dtype=np.bytes_),
        str: tfds.features.Text,
        int: lambda: tfds.features.Scalar(np.int64),
        float: lambda: tfds.features.Scalar(np.float32),
        tuple[str, ...]: lambda: tfds.features.Sequence(tfds.features.Text()),
    }
    return tfds.features.FeaturesDict(
        {field.name: kinds[field.type]() for field in dataclasses.fields(Row)}
    )


@functools.cache
def _serializer() -> Any:
    from tensorflow_datasets.core import example_serializer

    return example_serializer.ExampleSerializer(features().get_serialized_info())


def to_bytes(row: Row) -> bytes:
    """The record of a row."""
    example = {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}
    example = {name: list(x) if isinstance(x, tuple) else x for name, x in example.items()}
    return _serializer().serialize_example(features().encode_example(example))


def from_bytes(record: bytes) -> Row:
    """The row of a record."""
    return from_example(features().deserialize_example_np(record))


def from_example(example: dict[str, Any]) -> Row:
    """The row of what a TFDS data source gives."""
    convert = {
        bytes: bytes,
        str: _text,
        int: int,
        float: float,
        tuple[str, ...]: lambda texts: tuple(_text(text) for text in texts),
    }
    return Row(
        **{
            field.name: convert[field.type](example[field.name])
            for field in dataclasses.fields(Row)
        }
    )


def _text(text: bytes | str) -> str:
    return text.decode() if isinstance(text, bytes) else str(text)
