"""Several processes, each with its share of the clips."""

import pickle
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

T = TypeVar("T")


def share(items: Sequence[T]) -> Sequence[T]:
    """This process's part: every n-th of n processes, so that all have nearly as many."""
    return items[jax.process_index() :: jax.process_count()]


def gathered(value: T) -> list[T]:
    """What each process holds, by process, on all of them. All have to call it."""
    if jax.process_count() == 1:
        return [value]
    mine = np.frombuffer(pickle.dumps(value), np.uint8)
    sizes = multihost_utils.process_allgather(np.array(len(mine), np.int32)).reshape(-1)
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: len(mine)] = mine
    everyone: Any = multihost_utils.process_allgather(padded)
    return [pickle.loads(row[:size].tobytes()) for row, size in zip(everyone, sizes, strict=True)]


def first() -> bool:
    """Whether this process is the one that writes and prints."""
    return jax.process_index() == 0
