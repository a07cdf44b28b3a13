"""Keeping what is tested on out of what is trained on, across datasets, by the content of the sound.

Within a dataset the preparation has done it. Between datasets it is needed too: AudioSet holds AudioCaps, and
collections share recordings.
"""

import dataclasses
from collections.abc import Collection, Iterable, Sequence

from ldm_jax.data.prepared import Prepared
from ldm_jax.data.rows import Row


def held_out_hashes(
    datasets: Iterable[Prepared], splits: Collection[str] = ("validation", "test")
) -> frozenset[str]:
    """`Row.hash` of everything in `splits` of all datasets (those that have them)."""
    return frozenset(
        value
        for dataset in datasets
        for split in splits
        if split in dataset.splits
        for value in dataset.hashes(split)
    )


@dataclasses.dataclass(frozen=True)
class Without(Sequence[Row]):
    """Rows without those of certain content; reads no sound to know which.

    Attributes:
        rows: of a split.
        kept: numbers of those that stay, in order.
    """

    rows: Sequence[Row]
    kept: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: int) -> Row:  # type: ignore[override]  # no slices: training draws single rows
        return self.rows[self.kept[index]]


def training_rows(dataset: Prepared, hashes: Collection[str], split: str = "train") -> Without:
    """The rows of a split whose sound is not among `hashes`.

    Raises:
        ValueError: no row is left.
    """
    kept = tuple(i for i, value in enumerate(dataset.hashes(split)) if value not in hashes)
    if not kept:
        raise ValueError(f"all rows of {dataset.folder}, split {split}, are held out for testing")
    return Without(dataset.rows(split), kept)
