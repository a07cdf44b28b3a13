"""From what tables say to clips: finding the files, joining what is said of one, counting what is left over."""

import dataclasses
import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ldm_jax.data.clip import Clip, Omission, Split
from ldm_jax.data.locations import AudioFile
from ldm_jax.data.sources.files import Files, MissingError, printable, relative_name, unreadable

STRICTEST: tuple[Split, ...] = ("test", "validation", "train")


class Entry(NamedTuple):
    """A row of a table about one clip.

    Attributes:
        where: table and line, for messages.
        references: names of its file, tried in turn.
        fields: of its `Clip`, as far as the row knows them.
        name: of the clip; "" makes one from the file's and the start.
        prefer: as of `Files.find`.
    """

    where: str
    references: tuple[str, ...]
    fields: dict[str, Any]
    name: str = ""
    prefer: str = ""


def clips_of(
    entries: Iterable[Entry | Omission],
    files: Files,
    *,
    join: bool,
    leftover: str = "",
    named: bytearray | None = None,
) -> Iterator[Clip | Omission]:
    """The clips of a table's entries, in their order.

    Args:
        entries: what the tables say.
        files: where the audio is.
        join: gives entries about the same stretch of the same file as one clip with all their captions, once
            all are read; else each is a clip as soon as it is read.
        leftover: why a file that no entry names is left out; "" does not look for such.
        named: zeros, one for each of `files.audio`, for the caller to see which are named.
    """
    named = bytearray(len(files.audio)) if named is None else named
    joined: dict[tuple[str, float, float | None], Clip] = {}
    for entry in entries:
        clip = entry if isinstance(entry, Omission) else _clip(entry, files, named)
        if isinstance(clip, Omission) or not join:
            yield clip
            continue
        assert isinstance(clip.audio, AudioFile)
        key = (clip.audio.path, clip.start, clip.seconds)
        joined[key] = together(joined[key], clip) if key in joined else clip
    yield from joined.values()
    if leftover:
        yield from unnamed(files, named, leftover)
    yield from files.omissions


def unnamed(files: Files, named: bytearray, reason: str) -> Iterator[Omission]:
    """A line for each sounding file that is not marked."""
    for index, path in enumerate(files.audio):
        if not named[index]:
            yield Omission(name=printable(path), reason=reason)


def together(first: Clip, second: Clip) -> Clip:
    """One clip with the captions and labels of both, in the stricter of their splits."""
    splits = {first.split, second.split}
    return dataclasses.replace(
        first,
        captions=tuple(dict.fromkeys((*first.captions, *second.captions))),
        labels=tuple(dict.fromkeys((*first.labels, *second.labels))),
        transcript=first.transcript or second.transcript,
        split=next((split for split in STRICTEST if split in splits), None),
    )


def locate(entry: Entry, files: Files) -> int | str:
    """The file that an entry means: its index, or its path where it lies outside of the folder.

    Raises:
        MissingError: as of `Files.find`; what is said of the first reference.
    """
    missing = None
    for reference in entry.references:
        try:
            return files.find(reference, prefer=entry.prefer)
        except MissingError as error:
            missing = missing or error
    for reference in entry.references:
        if "/" in reference:
            try:
                path = os.path.join(files.root, reference)
                if os.path.isfile(path):
                    return path
            except ValueError:  # a NUL
                continue
    raise missing or MissingError("names no file")


def _clip(entry: Entry, files: Files, named: bytearray) -> Clip | Omission:
    try:
        found = locate(entry, files)
    except MissingError as error:
        name = entry.name or (printable(entry.references[0]) if entry.references else entry.where)
        return Omission(name=name, reason=f"{entry.where}: {error}")
    if isinstance(found, int):
        named[found] = 1
        path, name = files.path(found), printable(files.audio[found])
    else:
        path, name = found, relative_name(os.path.normpath(found))
    if why := unreadable(path):
        return Omission(name=name, reason=why)
    start = entry.fields.get("start", 0.0)
    return Clip(
        name=entry.name or (f"{name}@{start:g}" if start else name),
        audio=AudioFile(path),
        **entry.fields,
    )
