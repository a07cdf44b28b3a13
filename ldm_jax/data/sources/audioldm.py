"""The layout of AudioLDM's published training code: `dataset_root.json` names datasets, folders and tables.

{"NAME": folder, ..., "metadata": {"path": {"NAME": {"train": table, "val": table, "test": table,
"class_label_indices": csv}}}}; a table is {"data": [{"wav", "caption", "labels"}]}: `wav` is relative to the
folder, any key that holds "caption" is one, `labels` are AudioSet's classes parted by commas. Paths are
relative to the folder from which that code is run.
"""

import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from ldm_jax.data.clip import Clip, Omission, Split
from ldm_jax.data.sources.audioset import class_names, named
from ldm_jax.data.sources.columns import columns, split_named, texts
from ldm_jax.data.sources.entries import Entry, clips_of
from ldm_jax.data.sources.files import walk
from ldm_jax.data.sources.place import Place
from ldm_jax.data.sources.tables import read_table

ROOT = "dataset_root.json"
_ORDER: dict[Split, int] = {"test": 0, "validation": 1, "train": 2}


def looks_like(place: Place) -> bool:
    """Whether there is a `dataset_root.json`."""
    return any(table.name == ROOT for table in place.called(".json"))


def clips(place: Place) -> Iterator[Clip | Omission]:
    """The clips of all datasets it names, or of the one that `subset` names; their names begin with the dataset's.

    A file that is in several tables is one clip, of the test rather than the validation rather than the
    training split.

    Raises:
        ValueError: it is not such a file, or does not name `subset`.
    """
    for table in place.called(".json"):
        if table.name == ROOT:
            folders, tables = _read(table)
            if place.subset is not None and place.subset not in tables:
                raise ValueError(f"{table} names {', '.join(tables)}, but not {place.subset!r}")
            for dataset in tables if place.subset is None else [place.subset]:
                yield from _dataset(table, dataset, folders.get(dataset), tables[dataset])


def _read(table: pathlib.Path) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    try:
        content = json.loads(table.read_bytes())
        tables = content.pop("metadata")["path"]
        if not all(isinstance(of_one, dict) for of_one in tables.values()):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f'{table} is not {{"NAME": folder, "metadata": {{"path": ...}}}}'
        ) from None
    return content, tables


def _dataset(
    root: pathlib.Path, dataset: str, folder: Any, tables: dict[str, str]
) -> Iterator[Clip | Omission]:
    place = _resolve(root, folder) if isinstance(folder, str) else None
    if place is None:
        yield Omission(name=dataset, reason=f"{root.name}: its folder {folder} is not there")
        return
    names = _resolve(root, tables.get("class_label_indices", ""))
    entries = _entries(root, dataset, tables, class_names(names) if names else {})
    for clip in clips_of(entries, walk(place), join=True):
        if isinstance(clip, Omission):
            yield clip
        else:
            yield _named(clip, dataset)


def _named(clip: Clip, dataset: str) -> Clip:
    return dataclasses.replace(clip, name=f"{dataset}/{clip.name}", origin=clip.origin or dataset)


def _resolve(root: pathlib.Path, path: str) -> pathlib.Path | None:
    """A path relative to any folder above `root`, the nearest first, or to the working folder."""
    if not path:
        return None
    places = (folder / path for folder in (*root.absolute().parents, pathlib.Path.cwd()))
    return next((place for place in places if place.exists()), None)


def _entries(
    root: pathlib.Path, dataset: str, tables: dict[str, str], names: dict[str, str]
) -> Iterator[Entry | Omission]:
    splits: dict[str, Split] = {key: split for key in tables if (split := split_named(key))}
    for key, split in sorted(splits.items(), key=lambda item: _ORDER[item[1]]):
        table = _resolve(root, tables[key])
        if table is None:
            yield Omission(name=f"{dataset}, {key}", reason=f"its table {tables[key]} is not there")
            continue
        for row in read_table(table):
            if isinstance(row, Omission):
                yield row
                continue
            meaning = columns(tuple(row.cells), spoken=False)
            known = {
                "captions": texts(row.cells.get(name) for name in meaning.captions),
                "labels": named(str(row.cells.get("labels") or ""), names),
                "split": split,
            }
            wav = str(row.cells.get("wav") or "")
            yield Entry(row.where, (wav,) if wav else (), known)
