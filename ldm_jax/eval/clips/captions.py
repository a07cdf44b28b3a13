"""A table of captions for the clips of a folder, which it names by path, by name, or by video."""

import dataclasses
import pathlib
from typing import Any, NamedTuple

from ldm_jax.data.clip import Omission
from ldm_jax.data.sources.audiocaps import CLIP_SECONDS
from ldm_jax.data.sources.columns import FILE, texts
from ldm_jax.data.sources.entries import Entry, locate
from ldm_jax.data.sources.files import Files, MissingError
from ldm_jax.data.sources.tables import Row, header, read_table
from ldm_jax.data.sources.youtube import stems
from ldm_jax.eval.clips.clip import Clip, ClipSet, by_file, clip_name
from ldm_jax.eval.clips.manifest import line_of
from ldm_jax.eval.report.record import Problem

_PATHS = FILE[: FILE.index("uniq_id")]  # columns of paths; those behind it are of identities


class _Said(NamedTuple):
    """What a row says: names that its file may have, its fields, and its own identity where many rows share a sound."""

    where: str
    names: tuple[str, ...]
    known: dict[str, Any]
    identity: str = ""


def looks_like_audiocaps(table: pathlib.Path) -> bool:
    """Whether a table has AudioCaps' columns, and none of files."""
    names = set(header(table))
    return {"youtube_id", "start_time", "caption"} <= names and names.isdisjoint(_PATHS)


def add_captions(found: ClipSet, files: Files, table: pathlib.Path) -> ClipSet:
    """`found` with what a table says of its clips, which goes before what lies beside them.

    All names that the table has for a clip are aliases of it. AudioCaps has five rows a video, and people call
    what they generate by the row or by the video, in several ways: called by its row, a clip has the caption of
    that row alone.

    Args:
        found: the clips of the folder.
        files: what lies in the folder.
        table: the captions.

    Raises:
        ValueError: it names no clip of the folder.
    """
    audiocaps = looks_like_audiocaps(table)
    by_path = {str(clip.path): clip for clip in found.clips}
    said: dict[str, Clip] = {}
    called: dict[str, dict[str, None]] = {}  # alias -> names of clips
    alone: dict[str, tuple[Clip, ...]] = {}
    problems = list(found.problems)
    rows, lost = 0, []
    for row in read_table(table):
        line = row if isinstance(row, Omission) else _said(row, audiocaps)
        if isinstance(line, Omission):
            problems.append(Problem(file=line.name, why=line.reason, dropped=True))
            continue
        rows += 1
        clip = _meant(line, files, by_path)
        if clip is None:
            lost.append(f"{line.where}, {line.names[0]}")
            continue
        said[clip.name] = _with(said.get(clip.name), clip, line.known)
        for name in line.names:
            called.setdefault(clip_name(name), {})[clip.name] = None
        if line.identity:
            mine = dataclasses.replace(clip, name=line.identity, **line.known)
            alone.setdefault(line.identity, (mine,))
    if not said:
        first = lost[0] if lost else "no row that can be read"
        raise ValueError(f"{table} names no clip of {found.source}: it begins with {first}")
    if lost:
        why = f"{len(lost)} of {rows} rows name no clip of {found.source}, the first is {lost[0]}"
        problems.append(Problem(file=str(table), why=why, dropped=True))
    for clip in found.clips:
        if clip.name not in said and not clip.captions:
            why = f"no row of {table} names it, so that it has no caption"
            problems.append(Problem(file=clip.name, why=why, dropped=False))
    clips = tuple(said.get(clip.name, clip) for clip in found.clips)
    names = {clip.name for clip in clips}
    shared = {
        alias: tuple(dataclasses.replace(said[name], name=alias) for name in meant)
        for alias, meant in called.items()
    }
    aliases = {name: meant for name, meant in (shared | alone).items() if name not in names}
    return dataclasses.replace(found, clips=clips, aliases=aliases, problems=by_file(problems))


def _said(row: Row, audiocaps: bool) -> _Said | Omission:
    if not audiocaps:
        line = line_of(row)
        if isinstance(line, Omission):
            return line
        names = [name for name in (line.file, line.name, line.reference) if name]
        if "start" in line.known:  # of a video: its file may be called by the time
            start, seconds = line.known["start"], line.known.get("seconds")
            names += stems(line.file, start, None if seconds is None else start + seconds)
        if not names:
            return Omission(name=row.where, reason="names no clip")
        known = {key: line.known[key] for key in ("captions", "transcript") if key in line.known}
        return _Said(line.where, tuple(dict.fromkeys(names)), known)
    video, start = str(row.cells["youtube_id"]).strip(), str(row.cells["start_time"]).strip()
    if not video or not start.isdigit():
        return Omission(name=row.where, reason=f"youtube_id {video!r} at {start!r} s")
    identity = str(row.cells.get("audiocap_id", "")).strip()
    known = {"captions": texts([row.cells["caption"]])}
    return _Said(row.where, stems(video, int(start), int(start) + CLIP_SECONDS), known, identity)


def _meant(line: _Said, files: Files, by_path: dict[str, Clip]) -> Clip | None:
    names = (*line.names, line.identity) if line.identity else line.names
    try:
        index = locate(Entry(line.where, names, {}), files)
    except MissingError:
        return None
    return by_path.get(files.path(index)) if isinstance(index, int) else None


def _with(before: Clip | None, clip: Clip, known: dict[str, Any]) -> Clip:
    """The clip with what its rows say; what lay beside it counts where they say nothing."""
    if before is None:
        return dataclasses.replace(clip, **{key: value for key, value in known.items() if value})
    together = (*before.captions, *known.get("captions", ()))
    return dataclasses.replace(
        before,
        captions=tuple(dict.fromkeys(together)),
        transcript=before.transcript or known.get("transcript"),
    )
