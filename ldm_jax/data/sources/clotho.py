"""Clotho (Drossos et al., 2020): `clotho_captions_SPLIT.csv` with five captions a file, in folders of splits.

Columns file_name, caption_1 ... caption_5. Beside them `clotho_metadata_SPLIT.csv` may give keywords (labels),
the sound's number on Freesound and its licence.
"""

import re
from collections.abc import Iterator
from typing import Any

from ldm_jax.data.clip import Clip, Omission
from ldm_jax.data.sources.columns import labels, split_named, texts
from ldm_jax.data.sources.entries import Entry, clips_of
from ldm_jax.data.sources.place import Place
from ldm_jax.data.sources.tables import read_table

CAPTIONS = re.compile(r"clotho_captions_(\w+)\.csv", re.IGNORECASE)
METADATA = re.compile(r"clotho_metadata_(\w+)\.csv", re.IGNORECASE)


def looks_like(place: Place) -> bool:
    """Whether there is a table of captions by its published name."""
    return any(CAPTIONS.fullmatch(table.name) for table in place.called(".csv"))


def clips(place: Place) -> Iterator[Clip | Omission]:
    """A clip of each row; development is the training split, evaluation the test split; quality 3."""
    metadata = dict(_metadata(place))
    yield from clips_of(
        _entries(place, metadata), place.files, join=True, leftover="no row of Clotho names it"
    )


def _metadata(place: Place) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    for table in place.called(".csv"):
        if match := METADATA.fullmatch(table.name):
            for row in read_table(table):
                if isinstance(row, Omission):
                    continue  # some names there are not UTF-8; only keywords and licence are missed
                known = {
                    "labels": labels(row.cells.get("keywords")),
                    "licence": row.cells.get("license", "").strip(),
                }
                yield (match[1].lower(), row.cells.get("file_name", "").strip()), known


def _entries(
    place: Place, metadata: dict[tuple[str, str], dict[str, Any]]
) -> Iterator[Entry | Omission]:
    for table in place.called(".csv"):
        match = CAPTIONS.fullmatch(table.name)
        if match is None:
            continue
        for row in read_table(table):
            if isinstance(row, Omission):
                yield row
                continue
            name = str(row.cells.get("file_name", ""))
            known = {
                "captions": texts(
                    cell for key, cell in row.cells.items() if key.startswith("caption")
                ),
                "split": split_named(match[1]),
                "kind": "sound",
                "quality": 3,
            }
            known |= metadata.get((match[1].lower(), name.strip()), {})
            yield Entry(row.where, (name,), known, prefer=match[1])
