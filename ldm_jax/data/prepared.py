"""Datasets that `python -m ldm_jax.data.prepare` wrote, opened for reading."""

import bisect
import dataclasses
import functools
import itertools
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

from ldm_jax.data.rows import Row, from_bytes

DESCRIPTION = "preparation.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """A finished dataset.

    Attributes:
        folder: `.../name/1.0.0`.
        name: of the dataset.
        sample_rate: of all its audio, in Hz.
        codec: of its audio, "flac" or "opus".
        fingerprint: of all rows in order; another one means other rows.
        shard_rows: rows of each of a split's files, by split.
    """

    folder: pathlib.Path
    name: str
    sample_rate: int
    codec: str
    fingerprint: str
    shard_rows: Mapping[str, tuple[int, ...]]

    @property
    def splits(self) -> dict[str, int]:
        """Rows by split."""
        return {split: sum(rows) for split, rows in self.shard_rows.items()}

    @property
    def report(self) -> dict[str, Any]:
        """What `report.json` says."""
        return json.loads((self.folder / "report.json").read_text("utf-8"))

    def rows(self, split: str) -> "Rows":
        """The rows of a split.

        Raises:
            ValueError: the dataset has no such split.
        """
        lengths = self._lengths(split)
        names = (f"{self.name}-{split}.array_record-{suffix}" for suffix in _suffixes(len(lengths)))
        return Rows(tuple(str(self.folder / name) for name in names), lengths)

    def hashes(self, split: str) -> list[str]:
        """`Row.hash` of the rows of a split, in order, without reading their audio.

        Raises:
            ValueError: the dataset has no such split.
        """
        hashes = []
        for suffix in _suffixes(len(self._lengths(split))):
            lines = (self.folder / "journal" / f"{split}-{suffix}.jsonl").read_text("utf-8")
            entries = map(json.loads, lines.split("\n")[1:-1])
            hashes += [entry["hash"] for entry in entries if "hash" in entry]
        return hashes

    def _lengths(self, split: str) -> tuple[int, ...]:
        if split not in self.shard_rows:
            known = ", ".join(self.shard_rows)
            raise ValueError(f"{self.folder} has no split {split!r}; there are {known}")
        return self.shard_rows[split]


def open_prepared(
    path_or_name: str | pathlib.Path, *, data_dir: str | pathlib.Path | None = None
) -> Prepared:
    """Opens a prepared dataset.

    Args:
        path_or_name: `DIR/NAME/1.0.0` or `DIR/NAME`; or NAME, to be found in `data_dir`.
        data_dir: where datasets lie; by default TFDS's own, $TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
        ValueError: there is none, or its preparation did not come to its end.
        OSError: it cannot be read.
    """
    folder = _find(pathlib.Path(path_or_name), data_dir)
    try:
        about = json.loads((folder / DESCRIPTION).read_text("utf-8"))
    except ValueError:
        raise ValueError(f"{folder / DESCRIPTION} is not JSON: prepare the dataset again") from None
    if "fingerprint" not in about:
        raise ValueError(
            f"{folder} was not prepared to the end; python -m ldm_jax.data.prepare goes on with it"
        )
    return Prepared(
        folder=folder,
        name=about["name"],
        sample_rate=about["settings"]["rate"],
        codec=about["settings"]["codec"],
        fingerprint=about["fingerprint"],
        shard_rows={split: tuple(rows) for split, rows in about["shard_rows"].items()},
    )


def _find(path: pathlib.Path, data_dir: str | pathlib.Path | None) -> pathlib.Path:
    home = data_dir or os.environ.get("TFDS_DATA_DIR") or pathlib.Path("~/tensorflow_datasets")
    tried = [path, pathlib.Path(home).expanduser() / path]
    for folder in tried:
        for place in (folder, *sorted(folder.glob("*.*.*"), reverse=True)):
            if (place / DESCRIPTION).is_file():
                return place
    raise ValueError(
        f"no prepared dataset in {' or '.join(map(str, tried))}; "
        "python -m ldm_jax.data.prepare SOURCE --out DIR makes DIR/NAME"
    )


def _suffixes(count: int) -> Iterator[str]:
    return (f"{index:05d}-of-{count:05d}" for index in range(count))


@dataclasses.dataclass(frozen=True)
class Rows(Sequence[Row]):
    """Rows by number, each read from its file when it is asked for.

    Can be pickled and be read by many threads. Open files are shared by all of a process.
    """

    paths: tuple[str, ...]
    lengths: tuple[int, ...]

    @functools.cached_property
    def _ends(self) -> list[int]:
        return list(itertools.accumulate(self.lengths))

    def __len__(self) -> int:
        return sum(self.lengths)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        file = bisect.bisect_right(self._ends, place)
        before = self._ends[file] - self.lengths[file]
        return from_bytes(_record(self.paths[file], place - before))


def _record(path: str, index: int) -> bytes:
    try:
        return _reader(path).read([index])[0]
    except RuntimeError as error:  # what array_record calls a file that is gone or damaged
        raise OSError(f"cannot read row {index} of {path}: {error}") from None


@functools.lru_cache(maxsize=768)
def _reader(path: str) -> Any:
    from array_record.python.array_record_module import ArrayRecordReader

    # As grain's own source: nothing is read ahead, because rows are wanted in random order.
    return ArrayRecordReader(path, "readahead_buffer_size:0", file_reader_buffer_size=32_768)
