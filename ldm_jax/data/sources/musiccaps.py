"""MusicCaps (Agostinelli et al., 2023): `musiccaps-public.csv` and ten seconds of a YouTube video a row.

Columns ytid, start_s, end_s, audioset_positive_labels, aspect_list, caption, author_id, is_balanced_subset,
is_audioset_eval. Files are already cut (`youtube.stems`).
"""

from collections.abc import Iterator

from ldm_jax.data.clip import Clip, Omission
from ldm_jax.data.sources.columns import labels
from ldm_jax.data.sources.entries import Entry, clips_of
from ldm_jax.data.sources.place import Place
from ldm_jax.data.sources.tables import header, read_table
from ldm_jax.data.sources.youtube import stems

COLUMNS = {"ytid", "start_s", "end_s", "aspect_list", "caption"}


def looks_like(place: Place) -> bool:
    """Whether a table has its columns."""
    return any(set(header(table)) >= COLUMNS for table in place.called(".csv", ".parquet"))


def clips(place: Place) -> Iterator[Clip | Omission]:
    """A clip of each row; aspects are its labels; what is of AudioSet's evaluation set is the test split."""
    yield from clips_of(
        _entries(place), place.files, join=True, leftover="no row of MusicCaps names it"
    )


def _entries(place: Place) -> Iterator[Entry | Omission]:
    for table in place.called(".csv", ".parquet"):
        if not set(header(table)) >= COLUMNS:
            continue
        for row in read_table(table):
            if isinstance(row, Omission):
                yield row
                continue
            cells = row.cells
            try:
                stretch = stems(cells["ytid"], float(cells["start_s"]), float(cells["end_s"]))
            except ValueError:
                yield Omission(name=row.where, reason="its start or end is no number")
                continue
            evaluation = str(cells.get("is_audioset_eval")).strip().lower() in ("true", "1")
            known = {
                "captions": tuple(filter(None, [cells["caption"].strip()])),
                "labels": labels(cells["aspect_list"]),
                "split": "test" if evaluation else "train",
                "kind": "music",
                "quality": 3,
                "group": cells["ytid"],
            }
            yield Entry(row.where, stretch, known)
