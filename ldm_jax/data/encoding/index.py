"""Which windows and which captions there are: the first pass over a dataset."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from ldm_jax.audio.files import whole_file
from ldm_jax.convert.files import write_json
from ldm_jax.data.rows import Row
from ldm_jax.data.segments import caption_of


class Windows(NamedTuple):
    """Stretches of rows, in the rows' order.

    Attributes:
        row: in its split.
        start: first sample.
        samples: how many there are, at most a window's length.
    """

    row: Int[np.ndarray, " windows"]
    start: Int[np.ndarray, " windows"]
    samples: Int[np.ndarray, " windows"]


def cut(
    samples: Int[np.ndarray, " rows"] | Sequence[int], *, length: int, shortest: int
) -> Windows:
    """Windows of `length` samples, one after another, from rows of `samples`.

    What remains of a row behind its last whole window is one more if it has `shortest` samples or is the whole row.
    """
    samples = np.asarray(samples, np.int64)
    whole, rest = np.divmod(samples, length)
    counts = whole + ((rest >= max(shortest, 1)) | ((whole == 0) & (rest > 0)))
    row = np.repeat(np.arange(len(samples)), counts)
    start = (np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)) * length
    return Windows(row, start, np.minimum(samples[row] - start, length))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Index:
    """Everything there is to encode.

    Attributes:
        windows: by split.
        captions: distinct ones in order of appearance; the first is "".
        caption_ids: by split, the captions' numbers of one row after another; a row without any has 0.
        caption_offsets: by split, where each row's begin in `caption_ids`, and its length at the end.
    """

    windows: Mapping[str, Windows]
    captions: tuple[str, ...]
    caption_ids: Mapping[str, Int[np.ndarray, " ids"]]
    caption_offsets: Mapping[str, Int[np.ndarray, " offsets"]]


def build_index(splits: Mapping[str, Iterable[Row]], *, length: int, shortest: int) -> Index:
    """Reads every row once; see `cut` and `Index`."""
    numbers = {"": 0}
    windows, ids, offsets = {}, {}, {}
    for split, rows in splits.items():
        samples, counts, mine = [], [], []
        for row in rows:
            texts = texts_of(row)
            samples.append(row.samples)
            counts.append(len(texts))
            mine.extend(numbers.setdefault(text, len(numbers)) for text in texts)
        windows[split] = cut(samples, length=length, shortest=shortest)
        ids[split] = np.asarray(mine, np.int64)
        offsets[split] = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    return Index(windows=windows, captions=tuple(numbers), caption_ids=ids, caption_offsets=offsets)


def texts_of(row: Row) -> tuple[str, ...]:
    """A row's captions; of one without any what `caption_of` says."""
    return row.captions or (caption_of(row),)


def save_index(index: Index, folder: pathlib.Path) -> None:
    """Writes the index; `captions.json` comes last and says that it is whole."""
    for split, windows in index.windows.items():
        save_array(folder / split / "windows.npy", np.stack(windows, axis=1))
        save_array(folder / split / "captions.npy", index.caption_ids[split])
        save_array(folder / split / "caption_offsets.npy", index.caption_offsets[split])
    write_json(folder / "captions.json", index.captions)


def load_index(folder: pathlib.Path, splits: Iterable[str]) -> Index | None:
    """What `save_index` wrote; None if it is not whole."""
    if not (folder / "captions.json").exists():
        return None
    splits = list(splits)
    return Index(
        windows={split: load_windows(folder / split) for split in splits},
        captions=tuple(json.loads((folder / "captions.json").read_text(encoding="utf-8"))),
        caption_ids={split: np.load(folder / split / "captions.npy") for split in splits},
        caption_offsets={
            split: np.load(folder / split / "caption_offsets.npy") for split in splits
        },
    )


def load_windows(folder: pathlib.Path) -> Windows:
    """A split's."""
    return Windows(*np.ascontiguousarray(np.load(folder / "windows.npy").T))


def save_array(path: pathlib.Path, x: np.ndarray) -> None:
    """Writes a .npy file, whole or not at all."""
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, x)
