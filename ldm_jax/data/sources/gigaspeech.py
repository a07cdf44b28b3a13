"""GigaSpeech (Chen et al., 2021): `GigaSpeech.json` and hours-long files of which it names the stretches.

{"audios": [{"aid", "path", "segments": [{"sid", "speaker", "begin_time", "end_time", "text_tn", "subsets"}]}]},
audio as Opus, or converted beside. Also the stretches cut out, `SID.wav`, with tables of `sid` and `text_tn`.
"""

import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from ldm_jax.data.clip import Clip, Omission, Split
from ldm_jax.data.locations import AudioFile
from ldm_jax.data.sources.columns import PUNCTUATION, plain_text
from ldm_jax.data.sources.entries import Entry, clips_of, locate, unnamed
from ldm_jax.data.sources.files import MissingError, printable, unreadable
from ldm_jax.data.sources.json_stream import BrokenJSONError, members
from ldm_jax.data.sources.place import Place
from ldm_jax.data.sources.tables import Row, header, read_table

GARBAGE = ("<SIL>", "<MUSIC>", "<NOISE>", "<OTHER>")
SUBSETS = ("XS", "S", "M", "L", "XL", "DEV", "TEST")
_SPLITS: dict[str, Split] = {"DEV": "validation", "TEST": "test"}


def looks_like(place: Place) -> bool:
    """Whether there is `GigaSpeech.json` or a table of its segments."""
    return any(_described(place)) or any(_cut(place))


def clips(place: Place) -> Iterator[Clip | Omission]:
    """A clip of each segment with speech, in English; transcripts in small letters, the text has only large ones.

    `subset` takes one of its nested parts, as in "M"; default all.

    Raises:
        ValueError: another subset.
    """
    if place.subset is not None and place.subset.upper() not in SUBSETS:
        raise ValueError(f"{place.subset!r} is not one of GigaSpeech's {', '.join(SUBSETS)}")
    described = list(_described(place))
    if not described:
        yield from clips_of(
            _entries(place), place.files, join=False, leftover="no row of GigaSpeech names it"
        )
        return
    named = bytearray(len(place.files.audio))
    for table in described:
        try:
            for _, recording in members(table, under=("audios",)):
                yield from _segments(place, recording, named)
        except BrokenJSONError as error:
            yield Omission(name=table.name, reason=str(error))
    yield from unnamed(place.files, named, "GigaSpeech.json does not name it")
    yield from place.files.omissions


def _described(place: Place) -> Iterator[pathlib.Path]:
    return (table for table in place.called(".json") if table.name == "GigaSpeech.json")


def _cut(place: Place) -> Iterator[pathlib.Path]:
    return (t for t in place.called(".csv", ".tsv") if {"sid", "text_tn"} <= set(header(t)))


def _segments(place: Place, recording: Any, named: bytearray) -> Iterator[Clip | Omission]:
    try:
        identity, path = str(recording["aid"]), str(recording["path"])
        segments = [s for s in recording["segments"] if _wanted(s["subsets"], place.subset)]
    except (KeyError, TypeError):
        reason = f"not a recording with segments: {json.dumps(recording)[:60]}"
        yield Omission(name="GigaSpeech.json", reason=reason)
        return
    try:
        found = locate(Entry(identity, (path, identity), {}), place.files)
    except MissingError as error:
        if segments:
            yield Omission(name=printable(path), reason=f"{error}; it has {len(segments)} segments")
        return
    if isinstance(found, int):
        named[found] = 1
        path = place.files.path(found)
    else:
        path = found
    if why := unreadable(path):
        yield Omission(name=printable(identity), reason=why)
        return
    for segment in segments:
        try:
            start, end = float(segment["begin_time"]), float(segment["end_time"])
            known = _spoken(str(segment["text_tn"]), segment.get("speaker"), segment["subsets"])
            name = str(segment["sid"])
        except (KeyError, TypeError, ValueError):
            reason = f"not a segment: {json.dumps(segment)[:60]}"
            yield Omission(name=printable(identity), reason=reason)
            continue
        if isinstance(known, str):
            yield Omission(name=printable(name), reason=known)
        elif not 0 <= start < end:
            yield Omission(name=printable(name), reason=f"from {start:g} s to {end:g} s")
        else:
            yield Clip(
                name=name,
                audio=AudioFile(path),
                start=start,
                seconds=end - start,
                group=identity,
                **known,
            )


def _entries(place: Place) -> Iterator[Entry | Omission]:
    for table in _cut(place):
        # Their names begin with the subset: "xs_chunks_0000_metadata.csv".
        part = "{" + table.name.split("_")[0].upper() + "}"
        if not _wanted([part], place.subset):
            continue
        for row in read_table(table):
            if isinstance(row, Row):
                name = row.cells["sid"].strip()
                known = _spoken(row.cells["text_tn"], row.cells.get("speaker"), [part])
                if isinstance(known, str):
                    yield Omission(name=printable(name), reason=known)
                else:
                    known["group"] = re.sub(r"_S\d+$", "", name)
                    yield Entry(row.where, (name,), known, name=name)
            else:
                yield row


def _wanted(subsets: list[str], subset: str | None) -> bool:
    return subset is None or "{" + subset.upper() + "}" in subsets


def _spoken(text: str, speaker: Any, subsets: list[str]) -> dict[str, Any] | str:
    """Fields of a clip, or why there is none."""
    if mark := next((mark for mark in GARBAGE if mark in text), ""):
        return f"no speech but {mark}"
    words = text.split()
    if not set(words) - set(PUNCTUATION):
        return "nothing is said"
    splits = (_SPLITS.get(subset.strip("{}")) for subset in subsets)
    return {
        "transcript": plain_text(text).lower().strip(),
        "speaker": "" if speaker in (None, "N/A") else str(speaker),
        "kind": "speech",
        "language": "en",
        "split": next(filter(None, splits), "train"),
    }
