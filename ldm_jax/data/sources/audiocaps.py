"""AudioCaps (Kim et al., 2019): `train.csv`, `val.csv`, `test.csv` and ten seconds of YouTube a clip.

Columns audiocap_id, youtube_id, start_time, caption. Validation and test have five rows a clip, each with a
caption. Files are already cut and called by the YouTube or the AudioCaps identity (`youtube.stems`).
"""

from collections.abc import Iterator

from ldm_jax.data.clip import Clip, Omission, Split
from ldm_jax.data.sources.columns import split_named, texts
from ldm_jax.data.sources.entries import Entry, clips_of
from ldm_jax.data.sources.folder import stem_of_table
from ldm_jax.data.sources.place import Place
from ldm_jax.data.sources.tables import Row, header, read_table
from ldm_jax.data.sources.youtube import stems

CLIP_SECONDS = 10


def looks_like(place: Place) -> bool:
    """Whether a table has AudioCaps' columns."""
    return any(
        {"youtube_id", "start_time", "caption"} <= set(header(t)) for t in place.called(".csv")
    )


def clips(place: Place) -> Iterator[Clip | Omission]:
    """A clip of each video, with all its captions; quality 3, kind sound.

    Where each row has a file of its own, called by its AudioCaps identity, the first of a video stands for all.
    """
    entries: dict[tuple[str, str], Entry] = {}
    for table in place.called(".csv"):
        if {"youtube_id", "start_time", "caption"} <= set(header(table)):
            split = split_named(stem_of_table(table))
            for row in read_table(table):
                entry = row if isinstance(row, Omission) else _entry(row, split)
                if isinstance(entry, Omission):
                    yield entry
                    continue
                key = (entry.fields["group"], table.name)
                entries[key] = _together(entries[key], entry) if key in entries else entry
    leftover = "no row of AudioCaps names it, or another file holds the same clip"
    yield from clips_of(entries.values(), place.files, join=True, leftover=leftover)


def _entry(row: Row, split: Split | None) -> Entry | Omission:
    video, start = row.cells["youtube_id"].strip(), row.cells["start_time"].strip()
    if not video or not start.isdigit():
        return Omission(name=row.where, reason=f"youtube_id {video!r} at {start!r} s")
    identity = row.cells.get("audiocap_id", "").strip()
    known = {
        "captions": texts([row.cells["caption"]]),
        "kind": "sound",
        "quality": 3,
        "split": split,
        "group": video,
    }
    names = stems(video, int(start), int(start) + CLIP_SECONDS)
    return Entry(row.where, (*names, identity) if identity else names, known, prefer=split or "")


def _together(first: Entry, second: Entry) -> Entry:
    captions = dict.fromkeys((*first.fields["captions"], *second.fields["captions"]))
    return first._replace(
        references=tuple(dict.fromkeys((*first.references, *second.references))),
        fields=first.fields | {"captions": tuple(captions)},
    )
