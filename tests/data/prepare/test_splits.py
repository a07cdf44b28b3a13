import collections

import pytest

from ldm_jax.data.prepare.splits import assign_splits, straddling_groups
from tests.data.prepare.material import clip


def named(count, **fields):
    return [clip(f"/nowhere/{i}.wav", **fields) for i in range(count)]


def test_shares_are_as_asked():
    splits = collections.Counter(assign_splits(named(4000), validation=0.03, test=0.05))
    # Four standard deviations of a binomial count.
    assert splits["validation"] == pytest.approx(120, abs=4 * (4000 * 0.03 * 0.97) ** 0.5)
    assert splits["test"] == pytest.approx(200, abs=4 * (4000 * 0.05 * 0.95) ** 0.5)
    assert sum(splits.values()) == 4000


def test_files_added_later_move_none():
    clips = named(300)
    before = assign_splits(clips[100:200], validation=0.2, test=0.2)
    assert assign_splits(clips, validation=0.2, test=0.2)[100:200] == before
    assert assign_splits(clips[100:200][::-1], validation=0.2, test=0.2) == before[::-1]


def test_a_larger_test_split_keeps_what_the_smaller_one_had():
    clips = named(2000)
    small = assign_splits(clips, validation=0.0, test=0.1)
    large = assign_splits(clips, validation=0.0, test=0.3)
    assert {a for a, b in zip(large, small, strict=True) if b == "test"} == {"test"}


def test_a_group_stays_together():
    clips = [clip(f"/nowhere/{i}.wav", group=f"recording {i // 10}") for i in range(1000)]
    splits = assign_splits(clips, validation=0.3, test=0.3)
    for first in range(0, 1000, 10):
        assert len(set(splits[first : first + 10])) == 1
    assert set(splits) == {"train", "validation", "test"}


def test_the_source_decides_and_its_word_holds_for_the_group():
    clips = [
        clip("/nowhere/a.wav", group="g"),
        clip("/nowhere/b.wav", group="g", split="test"),
        clip("/nowhere/c.wav", split="validation"),
        clip("/nowhere/d.wav", group="h", split="train"),
        clip("/nowhere/e.wav", group="h", split="test"),
    ]
    splits = assign_splits(clips, validation=0.0, test=0.0)
    assert splits == ["test", "test", "validation", "train", "test"]
    assert straddling_groups(clips, splits) == ["h"]
