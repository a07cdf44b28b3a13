"""Reading one side: a folder of sounds, a manifest, or a folder with a table of captions."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from ldm_jax.data.sources.columns import columns, fields, texts
from ldm_jax.data.sources.files import READABLE, Files, printable, suffix_of, unreadable, walk
from ldm_jax.data.sources.tables import TABLES
from ldm_jax.eval.clips.captions import add_captions, looks_like_audiocaps
from ldm_jax.eval.clips.clip import Clip, ClipSet, by_file, by_name, clip_name
from ldm_jax.eval.clips.manifest import read_manifest
from ldm_jax.eval.report.record import Problem

# What lies beside clips and is no sound: nobody need hear of it.
# fmt: off
BESIDE = frozenset((
    "", ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".parquet", ".md", ".html", ".yaml", ".yml", ".toml",
    ".log", ".png", ".jpg", ".jpeg", ".svg", ".pdf", ".npy", ".npz", ".pt", ".pth", ".pkl", ".h5", ".lab",
    ".textgrid", ".srt", ".db", ".ini", ".py", ".sh",
))
# fmt: on


def read_side(
    path: str | os.PathLike[str], *, captions: str | os.PathLike[str] | None = None
) -> ClipSet:
    """The clips of a folder, with all folders below it, or of a manifest.

    In a folder a clip is called by its path in it, without the suffix. What it should sound like comes from
    `captions`, else from the record that `sample.py` wrote beside it, else from a text of its name.
    A manifest is a CSV, TSV, JSON or JSON lines table with a column of files (path, file, audio, generated ...,
    relative to it) and any of name, caption(s), transcript, reference, start and duration; AudioCaps' own tables
    describe the folder in which they lie.

    Args:
        path: the folder or the manifest.
        captions: a table of captions for clips of the folder, which it names by path, name or, as AudioCaps'
            tables do, by video.

    Raises:
        ValueError: it is not there, has no clip, or is no table that names files; in one sentence.
        OSError: it cannot be read.
    """
    path = pathlib.Path(path).expanduser()
    table = None if captions is None else pathlib.Path(captions).expanduser()
    for given in (path, table):
        if given is not None and not given.exists():
            raise ValueError(f"{given} is not there")
    known = ", ".join(TABLES)
    if path.is_file() and suffix_of(path.name) not in TABLES:
        raise ValueError(
            f"{path} is neither a folder nor a manifest, which would be one of {known}"
        )
    if table is not None and not (table.is_file() and suffix_of(table.name) in TABLES):
        raise ValueError(f"{table} is no table of captions, which would be one of {known}")
    if path.is_file() and table is None and looks_like_audiocaps(path):
        path, table = path.parent, path
    if path.is_file():
        if table is not None:
            raise ValueError(f"{path} is a manifest: its captions stand in it, not in {table}")
        found = read_manifest(path)
    else:
        files = walk(path)
        found = _from_folder(path, files)
        if table is not None and found.clips:
            found = add_captions(found, files, table)
    if not found.clips:
        raise ValueError(f"{path} has no clip that can be read{_first(found.problems)}")
    return found


def _first(problems: tuple[Problem, ...]) -> str:
    return f": {problems[0].file}, {problems[0].why}" if problems else ""


def _from_folder(root: pathlib.Path, files: Files) -> ClipSet:
    problems = [Problem(file=o.name, why=o.reason, dropped=True) for o in files.omissions]
    problems += [
        Problem(
            file=printable(path), why=f"{suffix_of(path)} is not a suffix of audio", dropped=True
        )
        for path in (*files.other, *files.unknown)
        if suffix_of(path) not in BESIDE
    ]
    chosen: dict[str, str] = {}
    for path in sorted(files.audio, key=lambda path: (_preference(path), path)):
        if why := unreadable(path):
            problems.append(Problem(file=printable(path), why=why, dropped=True))
        elif (name := clip_name(path)) in chosen:
            why = f"{printable(chosen[name])} has the same name but for the suffix, and is taken"
            problems.append(Problem(file=printable(path), why=why, dropped=True))
        else:
            chosen[name] = path
    clips, settings = [], []
    for name, path in chosen.items():
        said, known, problem = _said_beside(root / path)
        clips.append(Clip(name=name, path=root / path, **said))
        settings.append(known)
        if problem:
            problems.append(Problem(file=printable(path), why=problem, dropped=False))
    return ClipSet(
        source=str(root),
        clips=by_name(clips),
        problems=by_file(problems),
        generation=_agreed(settings),
    )


def _preference(path: str) -> int:
    """The format that loses least comes first."""
    suffix = suffix_of(path)
    return READABLE.index(suffix) if suffix in READABLE else len(READABLE)


def _said_beside(path: pathlib.Path) -> tuple[dict[str, Any], Mapping[str, Any], str]:
    """(fields of the clip, settings it was drawn with, what is wrong) from NAME.json and NAME.txt."""
    record, text = path.with_suffix(".json"), path.with_suffix(".txt")
    try:
        if record.is_file():
            cells = json.loads(record.read_bytes())
            if not isinstance(cells, dict):
                return {}, {}, f"{record.name} beside it is not an object"
            settings = cells.get("settings")
            if isinstance(settings, dict) and "prompt" in settings:
                said: dict[str, Any] = {"captions": texts([settings["prompt"]])}
                if transcript := settings.get("transcript"):
                    said["transcript"] = str(transcript)
                return said, settings, ""
            known = fields(cells, columns(tuple(cells)))
            said = {key: known[key] for key in ("captions", "transcript") if key in known}
            if said:
                return said, {}, ""
        if text.is_file():
            return {"captions": texts([text.read_bytes().decode("utf-8-sig").splitlines()])}, {}, ""
    except (OSError, ValueError, RecursionError) as error:
        which = record.name if record.is_file() else text.name
        return {}, {}, f"{which} beside it cannot be read ({' '.join(str(error).split())})"
    return {}, {}, ""


def _agreed(settings: list[Mapping[str, Any]]) -> dict[str, Any]:
    """What all settings have with the same value; a clip's own prompt and seed are none of it."""
    first = settings[0] if settings else {}
    return {
        key: value
        for key, value in first.items()
        if key not in ("prompt", "transcript", "seed")
        and all(key in one and one[key] == value for one in settings)
    }
