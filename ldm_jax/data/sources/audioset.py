"""AudioSet (Gemmeke et al., 2017): segments of YouTube videos with classes, no captions.

`balanced_train_segments.csv`, `unbalanced_train_segments.csv`, `eval_segments.csv`: comments that begin with
"#", then video, start, end and classes as in "/m/09x0r,/t/dd00088". With `class_labels_indices.csv` (index,
mid, display_name) beside them the classes are given by name, else as they are.
"""

import pathlib
from collections.abc import Iterator

from ldm_jax.data.clip import Clip, Omission
from ldm_jax.data.sources.entries import Entry, clips_of
from ldm_jax.data.sources.place import Place
from ldm_jax.data.sources.tables import header, read_cells, read_table
from ldm_jax.data.sources.youtube import stems

_LISTS = ("balanced_train_segments.csv", "unbalanced_train_segments.csv", "eval_segments.csv")


def looks_like(place: Place) -> bool:
    """Whether there is a list of segments."""
    return any(_is_segments(table) for table in place.called(".csv"))


def clips(place: Place) -> Iterator[Clip | Omission]:
    """A clip of each segment; `eval_segments.csv` is the test split, the other lists are the training split."""
    names = {}
    for table in place.called(".csv"):
        if is_class_names(table):
            names |= class_names(table)
    yield from clips_of(
        _entries(place, names), place.files, join=False, leftover="no segment of AudioSet is in it"
    )


def is_class_names(table: pathlib.Path) -> bool:
    """Whether it has the columns of `class_labels_indices.csv`."""
    return {"mid", "display_name"} <= set(header(table))


def class_names(table: pathlib.Path) -> dict[str, str]:
    """Identity of a class -> its name, of a `class_labels_indices.csv`."""
    rows = (row.cells for row in read_table(table) if not isinstance(row, Omission))
    names = {str(cells.get("mid")).strip(): cells.get("display_name") for cells in rows}
    return {identity: str(name).strip() for identity, name in names.items() if name}


def named(classes: str, names: dict[str, str]) -> tuple[str, ...]:
    """The names of classes parted by commas; one without a name stays as it is."""
    identities = (part.strip() for part in classes.split(","))
    return tuple(names.get(identity, identity) for identity in identities if identity)


def _is_segments(table: pathlib.Path) -> bool:
    try:
        with open(table, "rb") as file:
            start = file.read(1000)
    except OSError:
        return False
    return table.name in _LISTS or start.startswith((b"# Segments csv", b"# YTID"))


def _entries(place: Place, names: dict[str, str]) -> Iterator[Entry | Omission]:
    for table in place.called(".csv"):
        if not _is_segments(table):
            continue
        split = "test" if table.name.startswith("eval") else "train"
        for record in read_cells(table, spaces=True):
            if isinstance(record, Omission):
                yield record
                continue
            where, cells = record
            if cells[0].startswith("#"):
                continue
            try:
                video, start, end, classes = cells
                stretch = stems(video, float(start), float(end))
            except ValueError:
                yield Omission(name=where, reason="not a video, its start, its end and its classes")
                continue
            known = {"labels": named(classes, names), "split": split, "group": video}
            yield Entry(where, stretch, known, prefer=table.name.split("_")[0])
