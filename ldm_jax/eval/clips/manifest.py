"""Manifests: tables that name files, and what they should sound like, and what they are held against."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ldm_jax.data.clip import Omission
from ldm_jax.data.sources.columns import CellError, columns, fields, reference
from ldm_jax.data.sources.files import READABLE, printable, suffix_of, unreadable
from ldm_jax.data.sources.folder import TOLERANCE_SECONDS
from ldm_jax.data.sources.tables import Row, header, read_table
from ldm_jax.eval.clips.clip import Clip, ClipSet, by_file, by_name, clip_name
from ldm_jax.eval.report.record import Problem

GENERATED = ("generated", "generated_path", "generated_file", "generated_audio")
REFERENCE = (
    "reference", "reference_path", "reference_file", "reference_audio", "ref", "ground_truth", "groundtruth", "gt",
)  # fmt: skip


class Line(NamedTuple):
    """What one row of a manifest says.

    Attributes:
        where: table and line.
        file: of the clip, as written; "" where the row names none.
        name: the clip's, as written; "" where the row gives none.
        reference: the file it is held against, as written; "" for none.
        known: fields of the clip.
    """

    where: str
    file: str
    name: str
    reference: str
    known: dict[str, Any]


def read_manifest(path: pathlib.Path) -> ClipSet:
    """The clips of a manifest, and those that it pairs them with.

    A clip without a name is called by its path below the folder that all clips have in common. Lines about the
    same stretch of the same file are one clip with all their captions. Starts count unless the first that is
    past 0 lies behind the end of its file: then the files were cut there already.

    Raises:
        ValueError: no column names files.
    """
    problems: list[Problem] = []
    lines: list[tuple[Line, pathlib.Path]] = []
    names = header(path)
    if not names:
        said = next((one.reason for one in read_table(path) if isinstance(one, Omission)), "")
        raise ValueError(
            f"{path} has no row that can be read: {said or 'it is empty, or no table'}"
        )
    for row in read_table(path):
        line = row if isinstance(row, Omission) else line_of(row)
        if isinstance(line, Omission):
            problems.append(Problem(file=line.name, why=line.reason, dropped=True))
            continue
        found = _found(path.parent, line.file) if line.file else "names no file"
        if isinstance(found, str):
            problems.append(Problem(file=line.where, why=found, dropped=True))
        else:
            lines.append((line, found))
    if not lines and not _files(tuple(names)):
        raise ValueError(
            f"{path} names no files: its columns are {', '.join(names[:8])};"
            " a column path, file, audio or generated is expected"
        )
    if _are_cut(lines):
        lines = [(_whole(line), file) for line, file in lines]
    clips: dict[str, Clip] = {}
    references: dict[str, Clip] = {}
    root = _common(file for _, file in lines)
    for line, file in lines:
        why = _add(clips, _clip(line, file, root))
        if not why and line.reference:
            against = _found(path.parent, line.reference)
            if isinstance(against, str):
                why = f"its reference {against}; the clip is used without"
                problems.append(Problem(file=line.where, why=why, dropped=False))
                continue
            clip = _clip(line, file, root)
            why = _add(references, dataclasses.replace(clip, path=against, start=0.0, seconds=None))
        if why:
            problems.append(Problem(file=line.where, why=why, dropped=True))
    held = ClipSet(source=str(path), clips=by_name(references.values())) if references else None
    return ClipSet(
        source=str(path),
        clips=by_name(clips.values()),
        problems=by_file(problems),
        reference=held,
    )


def line_of(row: Row) -> Line | Omission:
    """What a row says, by the names of its columns; an omission where a cell is not what its column says."""
    special = {_plain(name): name for name in row.cells}
    generated = _first(row.cells, special, GENERATED)
    against = _first(row.cells, special, REFERENCE)
    name = _first(row.cells, special, ("name",))
    rest = {
        column: cell
        for column, cell in row.cells.items()
        if _plain(column) not in (*GENERATED, *REFERENCE, "name")
    }
    meaning = columns(tuple(rest))
    try:
        known = fields(rest, meaning)
    except CellError as error:
        return Omission(name=row.where, reason=str(error))
    wanted = ("captions", "transcript", "start", "seconds")
    known = {key: known[key] for key in wanted if key in known}
    file = generated or reference(rest, meaning)
    if not file:  # a list of references, or of files that are called "name"
        file, against, name = (against, "", name) if against else (name, "", "")
    return Line(row.where, file, name, against, known)


def _files(names: tuple[str, ...]) -> bool:
    plain = {_plain(name) for name in names}
    return bool(plain & {*GENERATED, *REFERENCE} or columns(names).files)


def _plain(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", str(name).strip().lower())


def _first(cells: Mapping[str, Any], special: Mapping[str, str], wanted: Iterable[str]) -> str:
    for key in wanted:
        cell = cells.get(special.get(key, ""))
        if isinstance(cell, str | int) and str(cell).strip():
            return str(cell).strip()
    return ""


def _found(root: pathlib.Path, written: str) -> pathlib.Path | str:
    """The file that is meant, or why there is none."""
    shown = printable(written)
    try:
        for text in dict.fromkeys((written, written.replace("\\", "/"))):
            path = pathlib.Path(os.path.normpath(root / pathlib.Path(text).expanduser()))
            if path.is_file():
                if why := unreadable(path.name):
                    return f"{shown}: {why}"
                if suffix_of(path.name) not in READABLE:
                    return f"{shown} has no suffix of audio"
                return path
    except (ValueError, OSError, RuntimeError):  # a NUL, a name too long, a home that is not known
        return f"{shown[:80]!r} is no path"
    return f"{shown} is not there" if not (root / written).is_dir() else f"{shown} is a folder"


def _are_cut(lines: list[tuple[Line, pathlib.Path]]) -> bool:
    """Whether the first stretch that begins past 0 ends behind its file."""
    import soundfile

    for line, file in lines:
        if start := line.known.get("start"):
            try:
                info = soundfile.info(file)
            except (soundfile.SoundFileError, OSError):
                continue
            end = start + line.known.get("seconds", 0.0)
            return end > info.frames / info.samplerate + TOLERANCE_SECONDS
    return False


def _whole(line: Line) -> Line:
    known = {key: value for key, value in line.known.items() if key not in ("start", "seconds")}
    return line._replace(known=known)


def _common(files: Iterable[pathlib.Path]) -> pathlib.Path:
    folders = {os.path.dirname(os.path.abspath(file)) for file in files}
    try:
        return pathlib.Path(os.path.commonpath(folders)) if folders else pathlib.Path()
    except ValueError:  # two drives
        return pathlib.Path()


def _clip(line: Line, file: pathlib.Path, root: pathlib.Path) -> Clip:
    absolute = pathlib.Path(os.path.abspath(file))
    below = absolute.relative_to(root) if root in absolute.parents else absolute
    name = clip_name(line.name or below.as_posix())
    if not line.name and (start := line.known.get("start")):
        name = f"{name}@{start:g}"
    return Clip(name=name, path=file, **line.known)


def _add(clips: dict[str, Clip], clip: Clip) -> str:
    """Adds a clip, or its captions to the same one; why not, where another has its name."""
    before = clips.setdefault(clip.name, clip)
    if (before.path, before.start, before.seconds) != (clip.path, clip.start, clip.seconds):
        return f"the name {clip.name} is taken by {printable(str(before.path))}"
    clips[clip.name] = dataclasses.replace(
        before,
        captions=tuple(dict.fromkeys((*before.captions, *clip.captions))),
        transcript=before.transcript or clip.transcript,
    )
    return ""
