"""WavCaps (Mei et al., 2023): a JSON file for each of its four parts, and `ID.flac` in a folder for each.

`sb_final.json`, `bbc_final.json`, `fsd_final.json`, `as_final.json`: {"data": [{"id", "caption", "duration",
...}]}. Identities of AudioSet's part end in ".wav". `exclude` takes one of its published lists of clips that are
also in AudioCaps, Clotho, ESC-50, UrbanSound8K or VGGSound ({"FreeSound": [...], "AudioSet": [...]}).
"""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

from ldm_jax.data.clip import Clip, Omission
from ldm_jax.data.sources.columns import labels, texts
from ldm_jax.data.sources.entries import Entry, clips_of
from ldm_jax.data.sources.files import stem_of
from ldm_jax.data.sources.place import Place
from ldm_jax.data.sources.tables import read_table

# How a part's table begins, what its folder's name holds, and its name.
PARTS = {
    "sb_final": ("SoundBible", "SoundBible"),
    "bbc_final": ("BBC", "BBC Sound Effects"),
    "fsd_final": ("FreeSound", "FreeSound"),
    "as_final": ("AudioSet", "AudioSet SL"),
    "SoundBible": ("SoundBible", "SoundBible"),
    "BBC_Sound_Effects": ("BBC", "BBC Sound Effects"),
    "FreeSound": ("FreeSound", "FreeSound"),
    "AudioSet_SL": ("AudioSet", "AudioSet SL"),
}


def looks_like(place: Place) -> bool:
    """Whether there is a table of one of its parts."""
    return any(_tables(place))


def clips(place: Place) -> Iterator[Clip | Omission]:
    """A clip of each item of each part that is there: caption of a language model (quality 2), kind sound.

    Raises:
        ValueError: `exclude` is not JSON.
        OSError: `exclude` cannot be read.
    """
    excluded = _names(json.loads(place.exclude.read_bytes())) if place.exclude else frozenset()
    yield from clips_of(
        _entries(place, excluded), place.files, join=False, leftover="no item of WavCaps names it"
    )


def _tables(place: Place) -> Iterator[tuple[pathlib.Path, str, str]]:
    tables = [table for table in place.called(".json", ".jsonl") if table.stem in PARTS]
    for table in tables:
        yield (table, *PARTS[table.stem])


def _names(listed: Any) -> frozenset[str]:
    """All texts in a list or a dictionary of lists, without suffix."""
    if isinstance(listed, dict):
        return frozenset().union(*map(_names, listed.values()))
    if isinstance(listed, list):
        return frozenset().union(*map(_names, listed))
    return frozenset([stem_of(str(listed))])


def _entries(place: Place, excluded: frozenset[str]) -> Iterator[Entry | Omission]:
    for table, folder, part in _tables(place):
        for row in read_table(table):
            if isinstance(row, Omission):
                yield row
                continue
            identity = stem_of(str(row.cells.get("id", "")).strip())
            if not identity:
                yield Omission(name=row.where, reason="has no id")
                continue
            if identity in excluded and folder in ("FreeSound", "AudioSet"):
                assert place.exclude is not None
                yield Omission(name=identity, reason=f"{row.where}: on {place.exclude.name}")
                continue
            known = {
                "captions": texts([row.cells.get("caption")]),
                "labels": labels(row.cells.get("tags")),
                "kind": "sound",
                "quality": 2,
                "origin": f"WavCaps {part}",
            }
            yield Entry(row.where, (identity,), known, prefer=folder)
