"""Which rater hears which clip: a Latin square, walked through."""

import math

import numpy as np

# At an order without neighbours of one item; where there is one item alone, there is none.
ATTEMPTS = 20


def latin_rows(
    *, items: int, systems: int, length: int, seed: int
) -> tuple[tuple[tuple[int, int], ...], ...]:
    """A row of (item, system) pairs for each of so many raters that all pairs are heard equally often.

    All items x systems pairs stand on a circle, p -> (p mod items, (p + p // lcm) mod systems) with the least common
    multiple of both numbers: any `items` neighbours have each item once, and systems take turns. A rater gets the
    next `length` pairs of the circle. It closes after items * systems / gcd(items * systems, length) raters, who
    together heard every pair equally often. Each row is then shuffled, so that clips of one item do not follow one
    another where that can be had.

    Args:
        items: how many.
        systems: how many.
        length: pairs for a rater.
        seed: of the orders, and of which item and system stand where on the circle.

    Raises:
        ValueError: a length beyond the number of pairs, or none.
    """
    pairs = items * systems
    if not 1 <= length <= pairs:
        raise ValueError(
            f"a rater is to hear {length} clips, but {items} items of {systems} systems make {pairs}"
        )
    generator = np.random.default_rng([seed, 2])
    item_order, system_order = generator.permutation(items), generator.permutation(systems)
    place = np.arange(pairs)
    item_of = item_order[place % items]
    system_of = system_order[(place + place // math.lcm(items, systems)) % systems]
    rows = []
    for row in range(pairs // math.gcd(pairs, length)):
        chosen = (row * length + np.arange(length)) % pairs
        order = _apart(item_of[chosen], generator)
        rows.append(tuple((int(item_of[p]), int(system_of[p])) for p in chosen[order]))
    return tuple(rows)


def _apart(item_of: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A random order in which no item follows itself, or nearly so where that is hard to find."""
    order = generator.permutation(len(item_of))
    for _ in range(ATTEMPTS):
        for at in range(1, len(order)):
            before = item_of[order[at - 1]]
            others = np.flatnonzero(item_of[order[at:]] != before)
            if item_of[order[at]] == before and len(others):
                order[[at, at + others[0]]] = order[[at + others[0], at]]
        if (item_of[order[1:]] != item_of[order[:-1]]).all():
            break
        order = generator.permutation(len(item_of))
    return order
