"""FMA, the Free Music Archive (Defferrard et al., 2017): `fma_metadata/tracks.csv` and `fma_SIZE/000/000002.mp3`.

Three rows head the table: groups, columns, and the name of the first column. `genres.csv` beside it names
genres by number.
"""

import ast
import pathlib
from collections.abc import Iterator
from typing import Any

from ldm_jax.data.clip import Clip, Omission
from ldm_jax.data.sources.columns import split_named
from ldm_jax.data.sources.entries import Entry, clips_of
from ldm_jax.data.sources.place import Place
from ldm_jax.data.sources.tables import read_cells, read_table


def looks_like(place: Place) -> bool:
    """Whether there is a `tracks.csv` headed by groups of columns."""
    return any(_is_tracks(table) for table in place.called(".csv"))


def clips(place: Place) -> Iterator[Clip | Omission]:
    """A clip of each track: genres as labels, its licence, its artist as a group, kind music.

    The table names all 106,574 tracks whichever size of the set one has; beside a folder `fma_small`,
    `fma_medium` or `fma_large`, those of larger sizes are not looked for.
    """
    genres = {}
    for table in place.called(".csv"):
        if table.name == "genres.csv":
            genres |= _genres(table)
    yield from clips_of(
        _entries(place, genres), place.files, join=False, leftover="no row of tracks.csv names it"
    )


def _is_tracks(table: pathlib.Path) -> bool:
    if table.name != "tracks.csv":
        return False
    first = next(read_cells(table), None)
    return isinstance(first, tuple) and "album" in first[1] and "track" in first[1]


def _genres(table: pathlib.Path) -> dict[int, str]:
    rows = (row.cells for row in read_table(table) if not isinstance(row, Omission))
    return {int(c["genre_id"]): c["title"] for c in rows if c.get("genre_id", "").isdigit()}


def _entries(place: Place, genres: dict[int, str]) -> Iterator[Entry | Omission]:
    wanted = _sizes(place)
    for table in place.called(".csv"):
        if not _is_tracks(table):
            continue
        groups: list[str] | None = None
        names: list[tuple[str, str]] = []
        for record in read_cells(table):
            if isinstance(record, Omission):
                yield record
                continue
            where, cells = record
            if groups is None:
                groups = cells
            elif not names:
                names = list(zip(groups, cells, strict=False))
            elif cells[0].isdigit() and len(cells) == len(names):
                track = dict(zip(names, cells, strict=True))
                if track.get(("set", "subset")) in wanted:
                    yield _entry(where, int(cells[0]), track, genres)
            elif cells[0] != "track_id":
                yield Omission(
                    name=where, reason=f"{len(cells)} cells of {len(names)}, or no number"
                )


def _sizes(place: Place) -> frozenset[str]:
    """Which subsets the folders of audio hold; each holds those smaller than it."""
    sizes = ("small", "medium", "large")  # fma_full holds the tracks of all three, untrimmed
    folders = {part for path in place.files.audio for part in path.split("/")[:-1]}
    folders |= {place.files.root.name, place.where.name}
    held = [i for i, size in enumerate(sizes) if f"fma_{size}" in folders]
    return frozenset(sizes[: max(held) + 1] if held and "fma_full" not in folders else sizes)


def _entry(
    where: str, number: int, track: dict[tuple[str, str], str], genres: dict[int, str]
) -> Entry:
    try:
        numbers = ast.literal_eval(track.get(("track", "genres")) or "[]")
    except (ValueError, SyntaxError):
        numbers = []
    top = track.get(("track", "genre_top"), "")
    labels = dict.fromkeys(filter(None, [top, *(genres.get(n, "") for n in numbers)]))
    known: dict[str, Any] = {
        "labels": tuple(labels),
        "kind": "music",
        "licence": track.get(("track", "license"), ""),
        "split": split_named(track.get(("set", "split"), "")),
        "group": f"artist {track.get(('artist', 'id')) or number}",
    }
    return Entry(where, (f"{number:06d}",), known)
