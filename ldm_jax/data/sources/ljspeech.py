"""LJSpeech (Ito and Johnson, 2017) and sets laid out like it: `metadata.csv` and `wavs/`.

Rows are name|text|text with numbers written out; bars part the cells and quotes are characters.
"""

import pathlib
import re
from collections.abc import Iterator
from typing import Any

from ldm_jax.data.clip import Clip, Omission
from ldm_jax.data.sources.columns import split_named
from ldm_jax.data.sources.entries import Entry, clips_of
from ldm_jax.data.sources.folder import stem_of_table
from ldm_jax.data.sources.place import Place
from ldm_jax.data.sources.tables import read_cells

_LJ = re.compile(r"(LJ\d{3})-\d{4}")


def looks_like(place: Place) -> bool:
    """Whether there is a `metadata.csv` whose first line has bars and names no columns."""
    return any(_is_metadata(table) for table in place.called(".csv", ".txt"))


def clips(place: Place) -> Iterator[Clip | Omission]:
    """A clip of each row: transcript with numbers written out, no caption, kind speech.

    LJSpeech's own are English, of speaker "LJ" and in the public domain; a chapter is a group.
    """
    yield from clips_of(
        _entries(place), place.files, join=False, leftover="no row of the metadata names it"
    )


def _is_metadata(table: pathlib.Path) -> bool:
    if table.stem.lower() not in ("metadata", "metadata_train", "metadata_val", "metadata_test"):
        return False
    try:
        with open(table, encoding="utf-8", errors="replace") as file:
            first = file.readline(2**16)
    except OSError:
        return False
    return "|" in first and not re.match("file|path|id|name|audio", first, re.IGNORECASE)


def _entries(place: Place) -> Iterator[Entry | Omission]:
    for table in place.called(".csv", ".txt"):
        if not _is_metadata(table):
            continue
        split = split_named(stem_of_table(table))
        for record in read_cells(table, delimiter="|", quoted=False):
            if isinstance(record, Omission):
                yield record
                continue
            where, cells = record
            if len(cells) < 2:
                yield Omission(name=where, reason="not a name, a bar and a text")
                continue
            text = next((cell.strip() for cell in cells[2:1:-1] if cell.strip()), cells[1].strip())
            known: dict[str, Any] = {"transcript": text, "kind": "speech", "split": split}
            if chapter := _LJ.fullmatch(cells[0].strip()):
                known |= {
                    "language": "en",
                    "speaker": "LJ",
                    "licence": "public domain",
                    "group": chapter[1],
                }
            yield Entry(where, (cells[0], f"wavs/{cells[0]}"), known)
