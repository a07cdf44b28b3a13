"""The Million Song Dataset (Bertin-Mahieux et al., 2011): previews, with tags or captions by track.

Audio: `TRSAGNY128F425391E.mp3`, in whatever folders, or 7digital's `3/0/303545.clip.mp3` where the annotations
have a `path`. Annotations: ECALS (`annotation.json`, and `ecals_track_split.json` of lists of tracks) and
LP-MusicCaps-MSD (Parquet, CSV or JSON with `track_id`, `tag`, `caption_writing`, `caption_summary`,
`caption_paraphrase`).
"""

import pathlib
import re
from collections.abc import Iterator
from typing import Any

from ldm_jax.data.clip import Clip, Omission, Split
from ldm_jax.data.sources.columns import labels, split_named, texts
from ldm_jax.data.sources.entries import Entry, clips_of
from ldm_jax.data.sources.folder import stem_of_table
from ldm_jax.data.sources.json_stream import BrokenJSONError, members
from ldm_jax.data.sources.place import Place
from ldm_jax.data.sources.tables import TABLES, Row, read_table

TRACK = re.compile(r"TR[A-Z]{5}[0-9A-F]{11}")
# Its authors advise against the fourth: a model guessed attributes that the tags do not tell.
UNWANTED = "caption_attribute_prediction"


def looks_like(place: Place) -> bool:
    """Whether a table's first row is of a track."""
    return any(_is_tracks(table) for table in place.called(*TABLES))


def clips(place: Place) -> Iterator[Clip | Omission]:
    """A clip of each track with a file: captions written from tags (quality 2), tags as labels, kind music.

    Raises:
        ValueError: `ecals_track_split.json` is broken.
    """
    splits: dict[str, Split] = {}
    for table in place.called(".json"):
        if table.name.endswith("track_split.json"):
            splits |= _splits(table)
    yield from clips_of(
        _entries(place, splits), place.files, join=False, leftover="no row of a table names it"
    )


def _is_tracks(table: pathlib.Path) -> bool:
    first = next((row for row in read_table(table) if isinstance(row, Row)), None)
    return first is not None and TRACK.fullmatch(_track(first)) is not None


def _track(row: Row) -> str:
    return str(row.cells.get("track_id") or row.cells.get("file") or "")


def _splits(table: pathlib.Path) -> dict[str, Split]:
    """Track -> split; the lists of tracks without human tags ("student", "extra") belong to the training."""
    splits: dict[str, Split] = {}
    try:
        for name, tracks in members(table):
            if not isinstance(tracks, list):
                raise BrokenJSONError(f"{name} is no list of tracks")
            split = split_named(name) or "train"
            splits |= {track: split for track in tracks if isinstance(track, str)}
    except BrokenJSONError as error:
        raise ValueError(f"{table}, without which test and training would mix: {error}") from None
    return splits


def _entries(place: Place, splits: dict[str, Split]) -> Iterator[Entry | Omission]:
    for table in place.called(*TABLES):
        if not _is_tracks(table):
            continue
        of_table = split_named(stem_of_table(table))
        for row in read_table(table):
            if isinstance(row, Omission):
                yield row
                continue
            track = _track(row)
            captions = (
                cell for name, cell in row.cells.items() if "caption" in name and name != UNWANTED
            )
            known: dict[str, Any] = {
                "captions": texts(captions),
                "labels": labels(row.cells.get("tag")),
                "kind": "music",
                "quality": 2,
                "split": splits.get(track, of_table),
                "group": str(row.cells.get("artist_name") or ""),
            }
            path = str(row.cells.get("path") or "")
            yield Entry(row.where, tuple(filter(None, (track, path))), known)
