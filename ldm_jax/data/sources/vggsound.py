"""VGGSound (Chen et al., 2020): `vggsound.csv` without header, and ten seconds of a YouTube video a row.

Columns video, start, class, split. Files are already cut, most often `VIDEO_000030`; videos must have their
sound taken out first, since libsndfile reads none.
"""

import pathlib
import re
from collections.abc import Iterator

from ldm_jax.data.clip import Clip, Omission
from ldm_jax.data.sources.columns import split_named
from ldm_jax.data.sources.entries import Entry, clips_of
from ldm_jax.data.sources.place import Place
from ldm_jax.data.sources.tables import read_cells
from ldm_jax.data.sources.youtube import stems

CLIP_SECONDS = 10
_ROW = re.compile(rb"[\w-]{11},\d+,.+,(train|test)\s*")


def looks_like(place: Place) -> bool:
    """Whether a table's first line is a row of VGGSound."""
    return any(_is_vggsound(table) for table in place.called(".csv"))


def clips(place: Place) -> Iterator[Clip | Omission]:
    """A clip of each row with its class as label, kind sound."""
    yield from clips_of(
        _entries(place), place.files, join=True, leftover="no row of VGGSound names it"
    )


def _is_vggsound(table: pathlib.Path) -> bool:
    try:
        with open(table, "rb") as file:
            return bool(_ROW.fullmatch(file.readline(1000)))
    except OSError:
        return False


def _entries(place: Place) -> Iterator[Entry | Omission]:
    for table in place.called(".csv"):
        if not _is_vggsound(table):
            continue
        for record in read_cells(table):
            if isinstance(record, Omission):
                yield record
                continue
            where, cells = record
            if len(cells) != 4 or not cells[1].strip().isdigit():
                yield Omission(name=where, reason="not a video, its start, its class and its split")
                continue
            video, start, label, split = (cell.strip() for cell in cells)
            known = {
                "labels": (label,),
                "split": split_named(split),
                "kind": "sound",
                "group": video,
            }
            names = stems(video, int(start), int(start) + CLIP_SECONDS)
            yield Entry(where, names, known, prefer=split)
