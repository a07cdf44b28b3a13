"""A folder of audio with captions from tables, from a file beside each sound, from names, or without any."""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from ldm_jax.data.clip import Clip, Omission
from ldm_jax.data.locations import AudioFile
from ldm_jax.data.sources.columns import (
    SPLITS,
    CellError,
    columns,
    fields,
    reference,
    split_named,
    split_of_path,
    texts,
)
from ldm_jax.data.sources.entries import Entry, clips_of, locate
from ldm_jax.data.sources.files import MissingError, printable, stem_of, suffix_of, unreadable
from ldm_jax.data.sources.place import Place
from ldm_jax.data.sources.tables import TABLES, Row, header, read_table

TOLERANCE_SECONDS = 0.25


def clips(place: Place) -> Iterator[Clip | Omission]:
    """Clips of every file that a table names, then of those that have a text beside them.

    A file that has neither is a clip too if no table names any, or else an omission. Tables are those given,
    or all that lie in the folder and have a column that names files; rows about the same stretch of the same
    file are one clip. Where a table has a column of starts, they are times in the files, unless the first
    file for which one is past 0 ends before (it was cut there already): then they do not count.

    Raises:
        ValueError: none of the tables that were given names files.
    """
    tables = list(place.called(*TABLES))
    used = [table for table in tables if columns(header(table), spoken=place.spoken).files]
    if place.given and not used:
        why = [f"{table} {_why_unused(table)}" for table in tables[:1]] or ["no table among them"]
        raise ValueError(f"the captions given tell of no file: {why[0]}")
    for table in tables:
        if table not in used:
            yield Omission(name=printable(table.name), reason=_why_unused(table))
    named = bytearray(len(place.files.audio))
    for clip in clips_of(_entries(place, used), place.files, join=True, named=named):
        yield clip if isinstance(clip, Omission) else _from_path(clip)
    for index, path in enumerate(place.files.audio):
        if not named[index]:
            yield from _unnamed(place, path, bool(used))


def _from_path(clip: Clip) -> Clip:
    """With the split its folder tells, and with the file as a group if the clip is a stretch of it."""
    path = clip.name.rpartition("@")[0] if clip.start else clip.name
    group = path if clip.seconds is not None and not clip.group else clip.group
    split = clip.split or split_of_path(clip.name)
    if (split, group) == (clip.split, clip.group):
        return clip
    return dataclasses.replace(clip, split=split, group=group)


def _why_unused(table: pathlib.Path) -> str:
    names = ", ".join(header(table)[:8])
    return (
        f"no column names files; it has {names}"
        if names
        else "has no header that can be read: empty, or no table"
    )


def _entries(place: Place, tables: list[pathlib.Path]) -> Iterator[Entry | Omission]:
    for table in tables:
        split = split_named(stem_of_table(table))
        cut = _is_cut(place, table)
        for row in read_table(table):
            entry = row if isinstance(row, Omission) else entry_of(row, spoken=place.spoken)
            if isinstance(entry, Entry):
                if split:
                    entry.fields.setdefault("split", split)
                if cut:
                    entry.fields.pop("start", None)
                    entry.fields.pop("seconds", None)
            yield entry


def _is_cut(place: Place, table: pathlib.Path) -> bool:
    """Whether the first stretch of the table that begins past 0 is not within its file."""
    import soundfile

    if not columns(header(table)).start:
        return False
    for row in read_table(table):
        entry = row if isinstance(row, Omission) else entry_of(row)
        if isinstance(entry, Omission) or not entry.fields.get("start"):
            continue
        try:
            found = locate(entry, place.files)
            info = soundfile.info(found if isinstance(found, str) else place.files.path(found))
        except (MissingError, soundfile.SoundFileError, OSError):
            continue
        end = entry.fields["start"] + entry.fields.get("seconds", 0.0)
        return end > info.frames / info.samplerate + TOLERANCE_SECONDS
    return False


def entry_of(row: Row, *, spoken: bool | None = None) -> Entry | Omission:
    """The entry of a row by the names of its columns."""
    meaning = columns(tuple(row.cells), spoken=spoken)
    try:
        known = fields(row.cells, meaning)
    except CellError as error:
        return Omission(name=row.where, reason=str(error))
    named = reference(row.cells, meaning)
    if not named:
        return Omission(name=row.where, reason="names no file")
    return Entry(row.where, (named,), known)


def stem_of_table(table: pathlib.Path) -> str:
    """Its name without suffix, if it may tell the split: "train", "audiocaps_test", "val-00000-of-00001"."""
    words = re.split(r"[^a-z]+", table.stem.lower())
    return next((word for word in words if split_named(word)), "")


def _unnamed(place: Place, path: str, tabled: bool) -> Iterator[Clip | Omission]:
    name = printable(path)
    if why := unreadable(path):
        yield Omission(name=name, reason=why)
        return
    texts_here = [
        place.files.root / text
        for stem in dict.fromkeys((stem_of(path), path))
        for suffix in (".txt", ".json")
        if (text := stem + suffix) in place.beside
    ]
    if tabled and not texts_here:
        yield Omission(name=name, reason="no row of a table names it")
        return
    known: dict[str, Any] = {}
    for text in texts_here:
        said = _said(text, place.spoken)
        if isinstance(said, Omission):
            yield said
        else:
            known = said | known
    if not known.get("captions") and not known.get("transcript") and place.names != "none":
        known |= from_name(path, parents=place.names == "path")
    known.setdefault("split", split_of_path(path))
    known = {key: value for key, value in known.items() if key not in ("start", "seconds")}
    yield Clip(name=name, audio=AudioFile(os.path.join(place.files.root, path)), **known)


def _said(path: pathlib.Path, spoken: bool | None) -> dict[str, Any] | Omission:
    """What a file beside a sound says of it: a .txt a caption a line, a .json an object, list or text."""
    name = printable(path.name)
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        return Omission(name=name, reason=f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        return Omission(name=name, reason=f"not UTF-8 (byte 0x{error.object[error.start]:02x})")
    if suffix_of(path.name) == ".txt":
        if spoken:
            return {"transcript": " ".join(content.split())}
        return {"captions": texts([content.splitlines()])}
    try:
        cells = json.loads(content)
        if not isinstance(cells, dict):
            return {"captions": texts([cells])}
        return fields(cells, columns(tuple(cells), spoken=spoken))
    except (ValueError, RecursionError) as error:
        return Omission(name=name, reason=f"not JSON that tells of a sound: {error}")


def from_name(path: str, *, parents: bool) -> dict[str, Any]:
    """A caption from a name: "dog_barking-03.wav" -> "dog barking".

    Numbers at an end, takes and versions are left out, as are folders that name a split.

    Returns:
        fields of a `Clip`; none where no word of three letters is left. Two words are a clear name
        (quality 2), one is a vague one (1).
    """
    folders, _, name = path.rpartition("/")
    parts = (
        [part for part in folders.split("/") if part.lower() not in _PLAIN_FOLDERS]
        if parents
        else []
    )
    words: dict[str, None] = {}
    for part in (*parts, stem_of(name)):
        part = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", part)
        for token in re.findall(r"[^\W_]+(?:'[^\W_]+)*", part):
            word = token.lower().rstrip("0123456789")
            numbered = word != token.lower()
            if not re.search(r"\d", word) and not (numbered and len(word) < 3):
                words[word] = None
    kept = [word for word in words if word not in _TAKES]
    if not any(len(word) >= 3 for word in kept):
        return {}
    return {"captions": (printable(" ".join(kept)),), "quality": 2 if len(kept) > 1 else 1}


_TAKES = frozenset(("", "take", "ver", "version", "v", "copy", "final"))
_PLAIN_FOLDERS = frozenset((*SPLITS, "audio", "wav", "wavs"))
