"""Batches for a mesh: the same, bit for bit, for any number of processes, threads and restarts.

Row r of batch `step` is a function of (seed, step * batch + r) and of the prepared files. A process reads only the
rows whose devices it holds. So nothing about data is saved in checkpoints: training goes on at step k by asking for
batches from k on.
"""

import collections
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grain
import jax
import numpy as np
from absl import flags
from jax.sharding import NamedSharding, Sharding
from jaxtyping import Int

from ldm_jax.data.features import Arrays, Feature
from ldm_jax.data.order import Order, place_generator
from ldm_jax.data.rows import Row
from ldm_jax.data.segments import Shaping, segment

_ENDLESS = 2**62


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examples:
    """Every example that training will ever see, by its place.

    Attributes:
        sets: prepared splits: sequences of rows.
        order: of their clips.
        shaping: how a row becomes a segment.
        features: what is made of a segment.
        names: words for labels.
    """

    sets: tuple[Sequence[Row], ...]
    order: Order
    shaping: Shaping
    features: tuple[Feature, ...]
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __getitem__(self, place: int) -> Arrays:
        """The features of one example, with `set` and `row`, which say where it came from."""
        generator = place_generator(self.order.seed, place)
        where, row = self._draw(place)
        second = None
        if self.shaping.mix and generator.random() < self.shaping.mix:
            second = self._draw(int(generator.integers(2**48)))[1]
        made = segment(row, self.shaping, generator, second=second, names=self.names)
        arrays = {name: x for feature in self.features for name, x in feature(made).items()}
        return {**arrays, "set": np.int32(where[0]), "row": np.int64(where[1])}

    def batch(self, places: Int[np.ndarray, " n"]) -> Arrays:
        """The examples at `places`, stacked."""
        return stack([self[place] for place in places.tolist()])

    def _draw(self, place: int) -> tuple[tuple[int, int], Row]:
        sets, rows = self.order([place])
        which = int(sets[0]), int(rows[0])
        return which, self.sets[which[0]][which[1]]


def examples(
    sets: Sequence[Sequence[Row]],
    *,
    features: Sequence[Feature],
    shaping: Shaping | None = None,
    weights: Sequence[float] = (),
    seed: int = 0,
    names: Mapping[str, str] | None = None,
) -> Examples:
    """Examples drawn from `sets` at the rates of `weights` (by size where none are given).

    Raises:
        ValueError: as `Order`.
    """
    order = Order(tuple(len(rows) for rows in sets), tuple(weights), seed)
    return Examples(
        sets=tuple(sets),
        order=order,
        shaping=shaping or Shaping(),
        features=tuple(features),
        names=names or {},
    )


def local_rows(sharding: Sharding, batch: int) -> Int[np.ndarray, " rows"]:
    """The rows of a batch that this process's devices hold, in order, each once.

    Raises:
        ValueError: the batch cannot be divided as `sharding` says.
    """
    try:
        slices = sharding.addressable_devices_indices_map((batch,)).values()
    except ValueError:
        raise ValueError(
            f"a batch of {batch} rows cannot be divided evenly by {sharding}"
        ) from None
    return np.unique(np.concatenate([np.arange(batch)[index] for index in slices if index]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Share:
    """What this process makes, one thing after another, for grain."""

    source: Any
    rows: tuple[int, ...]
    batch: int
    start: int

    def __len__(self) -> int:
        return _ENDLESS


class _Rows(_Share):
    """Examples, of which threads make several at once."""

    def __getitem__(self, i: int) -> Arrays:
        step, j = divmod(i, len(self.rows))
        return self.source[(self.start + step) * self.batch + self.rows[j]]


class _Batches(_Share):
    """This process's rows of whole batches."""

    def __getitem__(self, i: int) -> Arrays:
        return self.source.batch((self.start + i) * self.batch + np.array(self.rows))


def host_batches(
    source: Any,
    *,
    batch: int,
    rows: Sequence[int] | Int[np.ndarray, " n"] | None = None,
    start: int = 0,
    threads: int = 1,
    workers: int = 0,
    ahead: int = 2,
) -> Iterator[Arrays]:
    """This process's rows of batch `start`, `start` + 1 and so on, as NumPy arrays, for ever.

    Args:
        source: `Examples`, or anything with `batch(places)` that gives their arrays stacked; where it has
            `__getitem__(place)` too, examples of one batch are made side by side.
        batch: rows of a whole batch, over all processes.
        rows: which of them to make; None is all.
        start: the first batch.
        threads: in which examples are made, or in workers batches; 0 makes them when they are asked for. More than
            one help where disks are slow: decoding and front ends keep the interpreter busy.
        workers: processes that make whole batches, at best one a core; `source` is pickled to them, and the program's
            main module has to be importable. 0 stays in this process.
        ahead: batches made before they are asked for, by each worker.
    """
    mine = tuple(range(batch)) if rows is None else tuple(int(row) for row in rows)
    by_row = not workers and hasattr(source, "__getitem__")
    kind = _Rows if by_row else _Batches
    share: Any = kind(source=source, rows=mine, batch=batch, start=start)
    buffered = ahead * len(mine) if by_row else ahead
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffered)
    dataset = grain.MapDataset.source(share).to_iter_dataset(options)
    if by_row:
        dataset = dataset.batch(len(mine), batch_fn=stack)
    if workers:
        if not flags.FLAGS.is_parsed():  # grain reads them, also in a program that has none
            flags.FLAGS.mark_as_parsed()
        dataset = dataset.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=ahead)
        )
    return iter(dataset)


def device_batches(
    source: Any,
    *,
    batch: int,
    sharding: NamedSharding,
    start: int = 0,
    ahead: int = 2,
    **options: Any,
) -> Iterator[dict[str, Any]]:
    """Batch `start` and those after it as global arrays under `sharding`; text stays in NumPy arrays.

    `ahead` batches are on their way to the devices while one is worked on. `options` are those of `host_batches`.
    """
    rows = local_rows(sharding, batch)
    made = host_batches(source, batch=batch, rows=rows, start=start, **options)
    place = functools.partial(_place, sharding=sharding, batch=batch)
    queue: collections.deque[dict[str, Any]] = collections.deque()
    for arrays in made:
        queue.append({name: place(x) for name, x in arrays.items()})
        if len(queue) > ahead:
            yield queue.popleft()


def _place(x: np.ndarray, *, sharding: NamedSharding, batch: int) -> Any:
    if x.dtype == object:
        return x
    return jax.make_array_from_process_local_data(sharding, x, (batch, *x.shape[1:]))


def stack(rows: Sequence[Arrays]) -> Arrays:
    """Examples with a batch axis."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
