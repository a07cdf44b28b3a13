"""Host and devices at work together: inputs made in threads ahead of the devices, results fetched behind them."""

import collections
import concurrent.futures
import contextlib
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from ldm_jax.audio.files import whole_file
from ldm_jax.data.encoding.programs import Arrays, Programs
from ldm_jax.data.encoding.settings import EncodingError, shard_count

A = TypeVar("A")
B = TypeVar("B")


def own_shards(entries: int, size: int) -> range:
    """The numbers of the shards that this process writes."""
    return range(jax.process_index(), shard_count(entries, size), jax.process_count())


def made_ahead(
    function: Callable[[A], B], items: Iterable[A], *, threads: int, ahead: int
) -> Iterator[B]:
    """`map(function, items)`, up to `ahead` results before they are asked for."""
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    queue: collections.deque[concurrent.futures.Future[B]] = collections.deque()
    try:
        for item in items:
            queue.append(pool.submit(function, item))
            if len(queue) > ahead:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def groups(items: Iterable[A], size: int) -> Iterator[list[A]]:
    """`size` items at a time, at the end fewer."""
    group: list[A] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def encoded(
    programs: Programs, names: tuple[str, ...], batches: Iterable[Sequence[Arrays]], *, size: int
) -> Iterator[dict[str, np.ndarray]]:
    """What `programs` make of each batch, a row an input. The devices work on one batch while the next is made.

    Args:
        programs: of `names`.
        names: of encodings.
        batches: inputs by row; where they are fewer than `size`, zeros fill up the batch.
        size: rows of every batch that the devices see.
    """
    running: collections.deque[tuple[int, dict[str, Any]]] = collections.deque()

    def fetch() -> dict[str, np.ndarray]:
        count, results = running.popleft()
        return {name: np.asarray(x)[:count] for name, x in results.items()}

    for batch in batches:
        running.append((len(batch), programs(_stack(batch, size), names)))
        if len(running) > 1:
            yield fetch()
    while running:
        yield fetch()


class ShardFiles:
    """The .npy files of a shard, filled bit by bit in the page cache; all take their names together at the end."""

    def __init__(self, paths: Mapping[str, pathlib.Path], length: int) -> None:
        """Files of `length` entries by name of encoding; their shapes show with the first entries."""
        self._paths, self._length = paths, length
        self._stack = contextlib.ExitStack()
        self._maps: dict[str, np.memmap] = {}

    def __enter__(self) -> "ShardFiles":
        return self

    def __setitem__(self, key: tuple[str, Any], x: np.ndarray) -> None:
        """Writes entries: `files[name, place] = x`.

        Raises:
            EncodingError: a number that is not finite.
        """
        name, place = key
        if not np.isfinite(x).all():
            raise EncodingError(
                f"{name} comes out not finite as {x.dtype}: are these the weights of a trained network?"
            )
        if name not in self._maps:
            temporary = self._stack.enter_context(whole_file(self._paths[name]))
            self._maps[name] = np.lib.format.open_memmap(
                temporary, mode="w+", dtype=x.dtype, shape=(self._length, *x.shape[1:])
            )
        self._maps[name][place] = x

    def __exit__(self, *error: Any) -> None:
        for x in self._maps.values():
            x.flush()
        self._maps.clear()
        self._stack.__exit__(*error)


def _stack(batch: Sequence[Arrays], size: int) -> Arrays:
    stacked: Arrays = {}
    for name, first in batch[0].items():
        x = np.zeros((size, *first.shape), first.dtype)
        for i, row in enumerate(batch):
            x[i] = row[name]
        stacked[name] = x
    return stacked
