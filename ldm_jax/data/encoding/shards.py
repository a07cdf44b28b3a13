"""Arrays in numbered .npy files, mapped into memory and read as one."""

import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, Shaped

from ldm_jax.data.encoding.settings import EncodingError, shard_count, shard_path


class Shards:
    """Entries of equal shape, the same number in every file but the last. Reading is safe in threads."""

    def __init__(self, folder: pathlib.Path, name: str, *, entries: int, size: int) -> None:
        """Maps the files.

        Raises:
            EncodingError: one is missing, or is not what it should be.
        """
        self._size = size
        self._maps = _map_all(folder, name, shard_count(entries, size))
        lengths = [len(x) for x in self._maps]
        wanted = [min(size, entries - i * size) for i in range(len(lengths))]
        _check(folder, name, lengths, wanted)

    def take(self, places: Int[np.ndarray, " n"]) -> Shaped[np.ndarray, "n *shape"]:
        """A copy of the entries at `places`."""
        out = np.empty((len(places), *self._maps[0].shape[1:]), self._maps[0].dtype)
        for i, place in enumerate(places.tolist()):
            out[i] = self._maps[place // self._size][place % self._size]
        return out


class RaggedShards:
    """Entries of different lengths, one after another, and beside them the lengths."""

    def __init__(self, folder: pathlib.Path, name: str, *, entries: int, size: int) -> None:
        """As `Shards`."""
        self._size = size
        count = shard_count(entries, size)
        self._maps = _map_all(folder, name, count)
        by_shard = [np.asarray(x) for x in _map_all(folder, f"{name}_lengths", count)]
        _check(folder, name, [len(x) for x in self._maps], [int(x.sum()) for x in by_shard])
        self.lengths = np.concatenate(by_shard)
        self._starts = np.concatenate([np.cumsum(x) - x for x in by_shard])

    def take(
        self, places: Int[np.ndarray, " n"], length: int
    ) -> tuple[Shaped[np.ndarray, "n {length} width"], Bool[np.ndarray, "n {length}"]]:
        """(a copy of the entries, cut at `length` or padded with zeros; True where there is an entry)."""
        first = self._maps[0]
        out = np.empty((len(places), length, first.shape[1]), first.dtype)
        counts = np.minimum(self.lengths[places], length)
        starts = self._starts[places]
        for i, (place, start, count) in enumerate(
            zip(places.tolist(), starts.tolist(), counts.tolist(), strict=True)
        ):
            out[i, :count] = self._maps[place // self._size][start : start + count]
            out[i, count:] = 0
        return out, np.arange(length) < counts[:, None]


def _map_all(folder: pathlib.Path, name: str, count: int) -> Sequence[np.ndarray]:
    maps = []
    for index in range(count):
        path = shard_path(folder, name, index)
        try:
            maps.append(_plain(np.load(path, mmap_mode="r")))
        except (OSError, ValueError, EOFError) as error:
            raise EncodingError(f"{path} cannot be read ({error}); encode again") from None
    return maps


def _plain(x: np.ndarray) -> np.ndarray:
    """The same memory as a plain array, of which a piece is taken in a fifth of the time."""
    return x.view(np.ndarray)


def _check(folder: pathlib.Path, name: str, found: list[int], wanted: list[int]) -> None:
    for index, (has, should) in enumerate(zip(found, wanted, strict=True)):
        if has != should:
            path = shard_path(folder, name, index)
            raise EncodingError(
                f"{path} holds {has} entries, not {should}; remove it and encode again"
            )
