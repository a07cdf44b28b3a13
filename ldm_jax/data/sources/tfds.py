"""Datasets prepared by TensorFlow Datasets, read without TensorFlow and without their builders' code.

A folder `NAME/[CONFIG/]VERSION` with `features.json`, `dataset_info.json` and array_record files. Audio is a
feature of the kind `Audio` (samples, or a file's bytes where it decodes lazily), or bytes called like audio;
text is told by the features' names (`columns`). What this package prepares has exactly the fields of `rows.Row`.
"""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ldm_jax.data.clip import Clip, Omission
from ldm_jax.data.locations import RecordAudio, example_features, read_record, record_count
from ldm_jax.data.rows import Row, from_bytes
from ldm_jax.data.sources.columns import KINDS, CellError, columns, fields, split_named
from ldm_jax.data.sources.files import printable
from ldm_jax.data.sources.place import Place

SHARD = re.compile(
    r"(?P<name>.+)-(?P<split>[^-]+)\.array_record(-(?P<shard>\d+)-of-(?P<count>\d+))?"
)
AUDIO_NAMES = ("audio", "flac", "wav", "mp3", "ogg", "opus", "speech", "sound", "waveform")
_ROW = frozenset(field.name for field in dataclasses.fields(Row))


class Feature(NamedTuple):
    """A leaf of `features.json`: its kind, its JSON, and the names of its classes if it has such."""

    kind: str
    content: Mapping[str, Any]
    names: tuple[str, ...] = ()


def prepared_folder(where: pathlib.Path) -> pathlib.Path | None:
    """The folder of a version at or below `where`, the newest if there are several; None if there is none.

    Both files must be there: Hugging Face writes a `dataset_info.json` too.
    """
    found = [
        features.parent
        for depth in ("", "*/", "*/*/")
        for features in where.glob(f"{depth}features.json")
        if (features.parent / "dataset_info.json").is_file()
    ]
    return max(found, key=lambda folder: (_version(folder.name), folder), default=None)


def named_folder(name: str, data_dir: pathlib.Path | None = None) -> pathlib.Path:
    """The folder of "NAME", "NAME/CONFIG", "NAME:VERSION" or "NAME/CONFIG:VERSION".

    Args:
        name: as TFDS writes it; without a version the newest one.
        data_dir: where to look; default $TFDS_DATA_DIR, or ~/tensorflow_datasets.

    Raises:
        ValueError: it is not there.
    """
    base = data_dir or pathlib.Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets"))
    dataset, _, version = name.partition(":")
    folder = base.expanduser() / dataset
    if version:
        folder = folder / version
    found = prepared_folder(folder)
    if found is None:
        raise ValueError(
            f"{name} is neither a file or folder nor a dataset prepared in {base.expanduser()}"
        )
    return found


def looks_like(place: Place) -> bool:
    """Whether it is a prepared dataset."""
    return place.where.is_dir() and prepared_folder(place.where) is not None


def clips(place: Place) -> Iterator[Clip | Omission]:
    """A clip of each record, split by split.

    Raises:
        ValueError: it is stored as tfrecord; its features are unknown, have no audio, or samples without a
            rate (`sample_rate` gives it).
        OSError: it cannot be read.
    """
    folder = prepared_folder(place.where)
    if folder is None:
        raise ValueError(
            f"{place.where} has no features.json and dataset_info.json: it is no prepared dataset, or one "
            "whose builder did not come to its end"
        )
    leaves = _features(folder)
    shards = list(_shards(folder))
    audio = None if leaves.keys() == _ROW else _audio(folder, leaves, place.sample_rate)
    yield from _absent(shards)
    for path, split in shards:
        try:
            count = record_count(str(path))
        except OSError as error:
            yield Omission(name=printable(path.name), reason=str(error))
            continue
        for record in range(count):
            try:
                yield _clip(str(path), record, split, leaves, audio, place.spoken)
            except (OSError, CellError, KeyError) as error:
                yield Omission(name=f"{printable(path.name)}, record {record}", reason=str(error))


def _version(name: str) -> tuple[int, ...]:
    return tuple(map(int, name.split("."))) if re.fullmatch(r"\d+\.\d+\.\d+", name) else ()


def _features(folder: pathlib.Path) -> dict[str, Feature]:
    """Name -> leaf; names of inner features as in `tf.train.Example`, "outer/inner"."""
    try:
        leaves = dict(_leaves("", json.loads((folder / "features.json").read_bytes())))
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / 'features.json'} is not one of TFDS: {error}") from None
    for name, leaf in leaves.items():
        classes = folder / f"{name.replace('/', '-')}.labels.txt"
        if classes.is_file():
            lines = classes.read_text(encoding="utf-8", errors="replace").split("\n")
            leaves[name] = leaf._replace(
                names=tuple(line.strip() for line in lines if line.strip())
            )
    return leaves


def _leaves(name: str, feature: Mapping[str, Any]) -> Iterator[tuple[str, Feature]]:
    """Leaves in both spellings that TFDS has had: of protocol buffers, and before 4.6 of plain JSON."""
    kind = (feature.get("pythonClassName") or feature["type"]).rpartition(".")[2]
    content = feature.get("content") or feature
    inner = (content.get("featuresDict") or content).get("features")
    if inner is None and kind == "FeaturesDict":
        inner = content
    sequence = content.get("sequence") or content
    if isinstance(inner, dict):
        for key, value in inner.items():
            yield from _leaves(f"{name}/{key}" if name else key, value)
    elif kind in ("Sequence", "Dataset") and isinstance(sequence.get("feature"), dict):
        within = _leaves(name, sequence["feature"])
        yield from ((key, leaf._replace(kind="Sequence")) for key, leaf in within)
    else:
        yield name, Feature(kind, content.get(kind.lower()) or content.get("tensor") or content)


def _audio(
    folder: pathlib.Path, leaves: Mapping[str, Feature], sample_rate: int | None
) -> RecordAudio:
    """Where in each record the audio is; `path` and `record` are still to be filled in."""
    ordered = sorted(leaves.items(), key=lambda item: item[1].kind != "Audio")
    name, leaf = next((item for item in ordered if _sounds(*item)), ("", Feature("", {})))
    if not name:
        raise ValueError(f"{folder} has no audio among its features {', '.join(leaves)}")
    content = leaf.content
    of_file = leaf.kind == "Text" or content.get("dtype") in ("string", "object", "bytes")
    if of_file or content.get("lazyDecode") or content.get("lazy_decode"):
        return RecordAudio("", 0, name)
    told = float(content.get("sampleRate") or content.get("sample_rate") or 0)
    rate = int(told) or sample_rate
    if rate is None:
        raise ValueError(
            f"{folder}: feature {name} holds samples, but not their rate: give sample_rate"
        )
    shape = content.get("shape") or []
    shape = shape.get("dimensions", []) if isinstance(shape, dict) else shape
    channels = int(shape[1] or 0) if len(shape) == 2 else 1
    encoding = str(content.get("encoding") or "none").lower()
    dtype = "" if encoding == "none" else str(content.get("dtype"))
    return RecordAudio("", 0, name, rate, max(1, channels), dtype, encoding == "zlib")


def _sounds(name: str, leaf: Feature) -> bool:
    """Whether it is audio by its kind, or plain bytes or numbers by their name."""
    parts = name.lower().split("/")
    called = parts[0] in AUDIO_NAMES or parts[-1] in AUDIO_NAMES
    return leaf.kind == "Audio" or (called and leaf.kind in ("Tensor", "Scalar", "Text"))


def _shards(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, str]]:
    found = sorted(path for path in folder.iterdir() if SHARD.fullmatch(path.name))
    if not found:
        other = next((p.suffix or p.name for p in folder.iterdir() if ".tfrecord" in p.name), None)
        if other:
            raise ValueError(
                f"{folder} is stored as tfrecord, which only TensorFlow reads: prepare it again with "
                "`tfds build --file_format=array_record`, or "
                "download_and_prepare(file_format='array_record')"
            )
        raise ValueError(f"{folder} has no array_record file")
    for path in found:
        match = SHARD.fullmatch(path.name)
        assert match
        yield path, match["split"]


def _absent(shards: list[tuple[pathlib.Path, str]]) -> Iterator[Omission]:
    """Shards that others' names promise."""
    present: dict[tuple[str, str, str], set[int]] = {}
    for path, _ in shards:
        match = SHARD.fullmatch(path.name)
        if match and match["count"]:
            present.setdefault((match["name"], match["split"], match["count"]), set()).add(
                int(match["shard"])
            )
    for (name, split, count), numbers in present.items():
        for number in sorted(set(range(int(count))) - numbers):
            shard = f"{name}-{split}.array_record-{number:05d}-of-{count}"
            yield Omission(name=shard, reason="the file is not there")


def _clip(
    path: str,
    record: int,
    split: str,
    leaves: Mapping[str, Feature],
    audio: RecordAudio | None,
    spoken: bool | None,
) -> Clip:
    content = read_record(path, record)
    if audio is None:
        return _clip_of_row(path, record, split, from_bytes(content))
    location = dataclasses.replace(audio, path=path, record=record)
    cells = {
        name: cell
        for name, feature in example_features(content).items()
        if name in leaves and name != audio.feature
        and (cell := _cell(feature, leaves[name])) is not None
    }  # fmt: skip
    meaning = columns(tuple(name.rpartition("/")[2] for name in cells), spoken=spoken)
    cells = {name.rpartition("/")[2]: cell for name, cell in cells.items()}
    known = fields(cells, meaning._replace(start="", end="", seconds=""))
    if split_named(split):
        known["split"] = split_named(split)
    named = next((str(cells[name]) for name in meaning.files if cells.get(name)), "")
    return Clip(
        name=named or f"{split}/{pathlib.Path(path).name}/{record}", audio=location, **known
    )


def _clip_of_row(path: str, record: int, split: str, row: Row) -> Clip:
    return Clip(
        name=row.name,
        audio=RecordAudio(path, record, "audio"),
        captions=row.captions,
        transcript=row.transcript,
        labels=row.labels,
        kind=KINDS.get(row.kind, ""),
        language=row.language,
        speaker=row.speaker,
        licence=row.licence,
        origin=row.origin,
        quality=row.quality,
        group=row.group,
        split=split_named(split),
    )


def _cell(feature: Any, leaf: Feature) -> Any:
    """Text, a number or a list of texts; None for what says nothing to a reader."""
    if feature.HasField("bytes_list"):
        values = [value.decode("utf-8", "replace") for value in feature.bytes_list.value]
    elif feature.HasField("int64_list"):
        values = list(feature.int64_list.value)
    else:
        return None
    if leaf.names:  # an unknown class is -1
        values = [leaf.names[v] if v in range(len(leaf.names)) else "" for v in values]
    if leaf.kind == "Sequence":
        return values if all(isinstance(value, str) for value in values) else None
    return values[0] if len(values) == 1 else None
