"""Which clip stands where in training: an endless order over weighted sets, looked up at any place.

The order is a function of (seed, place) alone, in NumPy's Philox (Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", SC 2011), so that any process finds any row of any batch without having seen the ones before.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


@dataclasses.dataclass(frozen=True)
class Order:
    """An endless order over sets.

    Places come in blocks. A block holds as many clips of each set as its weight asks, to within one, in shuffled
    places; what is rounded in one block is made up for in the next, so that rates never drift. A set's clips come in
    shuffled epochs: none comes again before all others have.

    Attributes:
        sizes: clips in each set.
        weights: relative rates of the sets; () draws them by their sizes.
        seed: of all shuffling.

    Raises:
        ValueError: no set, an empty set, or weights that are not positive, finite and one a set.
    """

    sizes: tuple[int, ...]
    weights: tuple[float, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1:
            raise ValueError(f"every set needs clips; there are {list(self.sizes)}")
        weights = np.asarray(self.weights or self.sizes, np.float64)
        if len(weights) != len(self.sizes) or not (np.isfinite(weights) & (weights > 0)).all():
            raise ValueError(
                f"weights must be positive, one for each of {len(self.sizes)} sets, not {list(weights)}"
            )

    @functools.cached_property
    def shares(self) -> np.ndarray:
        """Rates of the sets, with sum 1."""
        weights = np.asarray(self.weights or self.sizes, np.float64)
        return weights / weights.sum()

    @functools.cached_property
    def block(self) -> int:
        """Places in a block: enough for two of the rarest set."""
        if len(self.sizes) == 1:
            return 1024
        return max(1024, int(2 ** np.ceil(np.log2(2 / self.shares.min()))))

    def __call__(
        self, places: Int[np.ndarray, " n"] | Sequence[int]
    ) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """(set, row in it) at each of `places`, which count from 0."""
        places = np.asarray(places, np.int64)
        blocks, within = np.divmod(places, self.block)
        sets, rows = np.empty_like(places), np.empty_like(places)
        for block in np.unique(blocks):
            here = blocks == block
            of_place, drawn = _block(self, int(block))
            sets[here], rows[here] = of_place[within[here]], drawn[within[here]]
        return sets, rows


@functools.lru_cache(maxsize=16)
def _block(order: Order, block: int) -> tuple[np.ndarray, np.ndarray]:
    """(set, row) of every place of a block."""
    bounds = np.concatenate([[0.0], np.cumsum(order.shares)])
    bounds[-1] = 1.0
    so_far = np.diff([int(bound * (block * order.block)) for bound in bounds])
    after = np.diff([int(bound * ((block + 1) * order.block)) for bound in bounds])
    counts = after - so_far
    sets = np.repeat(np.arange(len(counts)), counts)
    rows = np.concatenate(
        [
            _rows(order, k, int(first), int(count))
            for k, (first, count) in enumerate(zip(so_far, counts, strict=True))
        ]
    )
    shuffled = _generator(order.seed, 0, block).permutation(order.block)
    return sets[shuffled], rows[shuffled]


def _rows(order: Order, k: int, first: int, count: int) -> np.ndarray:
    """Rows number `first` to `first + count` of set k's epochs."""
    epochs, within = np.divmod(np.arange(first, first + count), order.sizes[k])
    rows = np.empty(count, np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        rows[here] = _epoch(order.seed, k, order.sizes[k], int(epoch))[within[here]]
    return rows


@functools.lru_cache(maxsize=32)
def _epoch(seed: int, k: int, size: int, epoch: int) -> np.ndarray:
    dtype = np.int32 if size < 2**31 else np.int64
    return _generator(seed, 1 + k, epoch).permutation(np.arange(size, dtype=dtype))


def _generator(seed: int, stream: int, counter: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, stream, counter))))


def place_generator(seed: int, place: int) -> np.random.Generator:
    """The random numbers that belong to one place: crops, captions, gains."""
    return np.random.Generator(np.random.Philox(key=[seed, place]))
