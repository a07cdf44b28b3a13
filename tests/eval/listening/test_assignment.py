import collections
import itertools
import math

import pytest

from ldm_jax.eval.listening.assignment import latin_rows


@pytest.mark.parametrize(
    ("items", "systems", "length"),
    [
        (8, 4, 8),
        (8, 4, 32),
        (7, 3, 6),
        (6, 4, 12),
        (10, 5, 7),
        (5, 1, 5),
        (1, 4, 4),
        (9, 6, 27),
        (4, 3, 1),
    ],
)
def test_balance(items, systems, length):
    rows = latin_rows(items=items, systems=systems, length=length, seed=5)
    assert len(rows) == items * systems // math.gcd(items * systems, length)
    together = collections.Counter(pair for row in rows for pair in row)
    assert set(together.values()) == {
        len(rows) * length // (items * systems)
    }  # every clip equally often
    assert len(together) == items * systems
    for row in rows:
        assert len(set(row)) == length  # no clip twice
        of_item = collections.Counter(item for item, _ in row)
        assert max(of_item.values()) - min(of_item.get(i, 0) for i in range(items)) <= 1
        of_system = collections.Counter(system for _, system in row)
        assert max(of_system.values()) - min(of_system.get(s, 0) for s in range(systems)) <= 2


def test_one_hearing_of_each_item_is_a_latin_square():
    """As many raters as systems, each hears each item once, and all systems equally often."""
    rows = latin_rows(items=8, systems=4, length=8, seed=0)
    assert len(rows) == 4
    for row in rows:
        assert sorted(item for item, _ in row) == list(range(8))
        assert set(collections.Counter(system for _, system in row).values()) == {2}
    for item in range(8):
        assert sorted(system for row in rows for other, system in row if other == item) == [
            0,
            1,
            2,
            3,
        ]


def test_order_is_drawn_and_no_item_follows_itself():
    rows = latin_rows(items=6, systems=4, length=24, seed=1)
    assert rows == latin_rows(items=6, systems=4, length=24, seed=1)
    assert rows != latin_rows(items=6, systems=4, length=24, seed=2)
    many = [latin_rows(items=6, systems=4, length=24, seed=seed)[0] for seed in range(200)]
    twice = sum(a[0] == b[0] for row in many for a, b in itertools.pairwise(row))
    assert twice == 0  # of 4600 neighbours; without care it would be 600
    first = collections.Counter(row[0] for row in many)
    assert max(first.values()) < 30  # of 200, 8.3 expected


@pytest.mark.parametrize("length", [0, 13])
def test_a_length_that_cannot_be(length):
    with pytest.raises(ValueError, match=f"hear {length} clips, but 4 items of 3 systems make 12"):
        latin_rows(items=4, systems=3, length=length, seed=0)
