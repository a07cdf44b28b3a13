"""Rows of a prepared dataset: what stands in each record of its `array_record` files.

The files are those of a TFDS builder, written and read without TensorFlow: `tfds.data_source(name, data_dir=...)`
reads them too. A record is a `tf.train.Example`. It is written here and not by TFDS, whose serializer puts the
features of each record in another order in every process, and which takes a second to import into each worker.
"""

import dataclasses
import functools
import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import soundfile
from jaxtyping import Float

from ldm_jax.audio.reading import AudioError

_AGAIN = "prepare the dataset again"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One prepared clip.

    Attributes:
        audio: a whole FLAC or Opus file, mono, at `sample_rate`.
        sample_rate: in Hz.
        samples: of the clip; an Opus file has some silence behind them, which is not part of it.
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


def to_bytes(row: Row) -> bytes:
    """The record of a row; of equal rows, equal bytes."""
    example = _example_class()()
    for field in dataclasses.fields(Row):
        form = _FORMS[field.type]
        values = form.encode(getattr(row, field.name))
        entry = example.features.feature.add(key=field.name)
        getattr(entry.value, form.kind).value.extend(values)
    return example.SerializeToString()


def from_bytes(record: bytes) -> Row:
    """The row of a record.

    Raises:
        ValueError: a record that is no row.
    """
    from google.protobuf.message import DecodeError

    values = {}
    try:
        example = _example_class().FromString(record)
        features = {entry.key: entry.value for entry in example.features.feature}
        for field in dataclasses.fields(Row):
            form = _FORMS[field.type]
            values[field.name] = form.decode(getattr(features[field.name], form.kind).value)
    except (DecodeError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"a record that is no row of ldm_jax.data ({error!r})") from None
    return Row(**values)


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


class _Form(NamedTuple):
    """How a field stands in a `tf.train.Feature`: in which of its lists, and the values of that."""

    kind: str
    encode: Callable[[Any], list[Any]]
    decode: Callable[[Any], Any]


_FORMS: dict[Any, _Form] = {
    bytes: _Form("bytes_list", lambda value: [value], lambda values: values[0]),
    str: _Form("bytes_list", lambda text: [text.encode()], lambda values: values[0].decode()),
    int: _Form("int64_list", lambda value: [value], lambda values: values[0]),
    float: _Form("float_list", lambda value: [value], lambda values: values[0]),
    tuple[str, ...]: _Form(
        "bytes_list",
        lambda texts: [text.encode() for text in texts],
        lambda values: tuple(value.decode() for value in values),
    ),
}
# Messages of tensorflow/core/example/{example,feature}.proto: name -> fields as (name, type, repeated), numbered from
# 1. A protobuf map is, on the wire, a repeated message of key and value; as such it keeps the order it is given.
_MESSAGES: dict[str, list[tuple[str, str, bool]]] = {
    "BytesList": [("value", "bytes", True)],
    "FloatList": [("value", "float", True)],
    "Int64List": [("value", "int64", True)],
    "Feature": [
        ("bytes_list", "BytesList", False),
        ("float_list", "FloatList", False),
        ("int64_list", "Int64List", False),
    ],
    "Entry": [("key", "string", False), ("value", "Feature", False)],
    "Features": [("feature", "Entry", True)],
    "Example": [("features", "Features", False)],
}


@functools.cache
def _example_class() -> Any:
    """The class of `tf.train.Example` messages, in a pool of its own beside TensorFlow's and TFDS's."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    described: Any = descriptor_pb2.FieldDescriptorProto
    scalars = {
        "bytes": described.TYPE_BYTES,
        "float": described.TYPE_FLOAT,
        "int64": described.TYPE_INT64,
        "string": described.TYPE_STRING,
    }
    file: Any = descriptor_pb2.FileDescriptorProto(
        name="ldm_jax/example.proto", package="ldm_jax", syntax="proto3"
    )
    for message, fields in _MESSAGES.items():
        target = file.message_type.add(name=message)
        for number, (name, kind, repeated) in enumerate(fields, start=1):
            label = described.LABEL_REPEATED if repeated else described.LABEL_OPTIONAL
            field = target.field.add(name=name, number=number, label=label)
            if kind in scalars:
                field.type = scalars[kind]
            else:
                field.type, field.type_name = described.TYPE_MESSAGE, f".ldm_jax.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ldm_jax.Example"))


def sound_of(
    row: Row, *, first: int = 0, count: int | None = None
) -> Float[np.ndarray, " samples"]:
    """The row's samples from number `first` on, at most `count` of them, full scale 1.

    Raises:
        AudioError: its file cannot be decoded, or holds fewer samples than the row says.
    """
    rest = row.samples - first
    count = rest if count is None else min(count, rest)
    # Not by `read_audio`: these files were checked when they were written, and training reads many.
    try:
        with soundfile.SoundFile(io.BytesIO(row.audio)) as file:
            file.seek(first)
            wave = file.read(count, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{row.name} cannot be decoded ({error}); {_AGAIN}") from None
    if wave.shape != (count,) or file.samplerate != row.sample_rate:
        raise AudioError(f"{row.name} is not what its record tells of; {_AGAIN}")
    return wave
