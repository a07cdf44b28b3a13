"""WebDataset: tar archives in which the files of one sample share their name up to its first dot.

`a/000.flac`, `a/000.json`, `a/000.txt`. Archives are read in place, by offset; nothing is unpacked.
"""

import json
import os
import pathlib
import tarfile
from collections.abc import Iterator
from typing import Any

from ldm_jax.data.clip import Clip, Omission, Split
from ldm_jax.data.locations import FilePart
from ldm_jax.data.sources.columns import columns, fields, split_named, split_of_path, texts
from ldm_jax.data.sources.files import READABLE, UNREADABLE, printable, relative_name, suffix_of
from ldm_jax.data.sources.folder import stem_of_table
from ldm_jax.data.sources.place import Place

TEXTS = (".json", ".txt", ".cls", ".text", ".caption")
LONGEST_TEXT = 2**24  # bytes; what is longer is no caption


def looks_like(place: Place) -> bool:
    """Whether there are tar archives and no plain audio."""
    return not place.files.audio and any(map(_is_archive, place.tables))


def clips(place: Place) -> Iterator[Clip | Omission]:
    """A clip of each sample that sounds, named by archive and key; captions from its .txt (a line each) and .json.

    Raises:
        ValueError: all archives are compressed.
    """
    archives = [table for table in place.tables if _is_archive(table)]
    compressed = [archive for archive in archives if suffix_of(archive.name) != ".tar"]
    if archives == compressed:
        raise ValueError(f"{place.where}: {_COMPRESSED}")
    for archive in archives:
        relative = printable(archive.relative_to(place.files.root).as_posix())
        if archive in compressed:
            yield Omission(name=relative, reason=_COMPRESSED)
        else:
            split = split_named(stem_of_table(archive)) or split_of_path(relative)
            yield from _clips(archive, relative, split, place.spoken)
    yield from place.files.omissions


_COMPRESSED = "a compressed archive cannot be read in place: unpack it with gunzip to a .tar first"


def _is_archive(path: pathlib.Path) -> bool:
    return path.name.lower().endswith((".tar", ".tar.gz", ".tgz"))


def _clips(
    archive: pathlib.Path, relative: str, split: Split | None, spoken: bool | None
) -> Iterator[Clip | Omission]:
    """Members that follow each other and share a key are a sample."""
    key, sample = "", []
    for member in _members(archive, relative):
        if isinstance(member, Omission):
            yield member
            continue
        folder, slash, name = member.name.rpartition("/")
        stem, _, _ = name.partition(".")
        if folder + slash + stem != key and sample:
            yield from _sample(archive, relative, key, sample, split, spoken)
            sample = []
        key = folder + slash + stem
        sample.append(member)
    if sample:
        yield from _sample(archive, relative, key, sample, split, spoken)


def _members(archive: pathlib.Path, relative: str) -> Iterator[tarfile.TarInfo | Omission]:
    """Regular files; whatever keeps the archive from being read to its end is an omission."""
    count, at = 0, 0
    try:
        size = archive.stat().st_size
        with tarfile.open(archive, "r:", errorlevel=2) as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # pyright: ignore[reportAttributeAccessIssue]  (it would keep them all)
                at = tar.offset
                if member.offset_data + member.size > size:
                    break
                count += 1
                if member.isreg() and not member.issparse():
                    yield member
        if at < size and not _ends(archive, at):
            reason = f"broken from byte {at} on, after {count} members"
            yield Omission(name=relative, reason=reason)
        elif at > size:
            reason = f"breaks off in a member, after {count} whole ones"
            yield Omission(name=relative, reason=reason)
    except (tarfile.TarError, OSError, EOFError) as error:
        reason = f"cannot be read as tar, after {count} members: {error}"
        yield Omission(name=relative, reason=reason)


def _ends(archive: pathlib.Path, at: int) -> bool:
    """Whether the next block is empty, as at an archive's end."""
    with open(archive, "rb") as file:
        file.seek(at)
        return not file.read(tarfile.BLOCKSIZE).strip(b"\0")


def _sample(
    archive: pathlib.Path,
    relative: str,
    key: str,
    members: list[tarfile.TarInfo],
    split: Split | None,
    spoken: bool | None,
) -> Iterator[Clip | Omission]:
    name = relative_name(f"{relative.removesuffix('.tar')}/{key}")
    sounds = [m for m in members if suffix_of(m.name) in READABLE]
    if not sounds:
        if any(suffix_of(m.name) in UNREADABLE for m in members):
            reason = f"{relative}: libsndfile does not read {suffix_of(members[0].name)}"
        else:
            reason = f"{relative}: no audio among {', '.join(m.name for m in members[:4])}"
        yield Omission(name=name, reason=reason)
        return
    sounds.sort(key=lambda member: READABLE.index(suffix_of(member.name)))
    known: dict[str, Any] = {}
    for member in members:
        if suffix_of(member.name) in TEXTS:
            said = _said(archive, member, spoken)
            if isinstance(said, Omission):
                yield said
            else:
                known = _merged(known, said)
    known = {field: value for field, value in known.items() if field not in ("start", "seconds")}
    if split:
        known.setdefault("split", split)
    sound = sounds[0]
    audio = FilePart(str(archive), sound.offset_data, sound.size, printable(sound.name))
    yield Clip(name=name, audio=audio, **known)


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    captions = dict.fromkeys((*first.get("captions", ()), *second.get("captions", ())))
    return second | first | ({"captions": tuple(captions)} if captions else {})


def _said(
    archive: pathlib.Path, member: tarfile.TarInfo, spoken: bool | None
) -> dict[str, Any] | Omission:
    name = printable(member.name)
    if member.size > LONGEST_TEXT:
        return Omission(name=name, reason=f"{archive.name}: {member.size} bytes are no caption")
    with open(archive, "rb") as file:
        file.seek(member.offset_data, os.SEEK_SET)
        content = file.read(member.size)
    try:
        text = content.decode("utf-8-sig")
        if suffix_of(member.name) == ".cls":
            return {"labels": (text.strip(),)} if text.strip() else {}
        if suffix_of(member.name) != ".json":
            return (
                {"transcript": " ".join(text.split())}
                if spoken
                else {"captions": texts([text.splitlines()])}
            )
        cells = json.loads(text)
        if not isinstance(cells, dict):
            return {"captions": texts([cells])}
        return fields(cells, columns(tuple(cells), spoken=spoken))
    except UnicodeDecodeError as error:
        byte = f"0x{content[error.start]:02x}"
        return Omission(name=name, reason=f"{archive.name}: not UTF-8 (byte {byte})")
    except (ValueError, RecursionError) as error:
        return Omission(
            name=name, reason=f"{archive.name}: not JSON that tells of a sound: {error}"
        )
