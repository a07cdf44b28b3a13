import numpy as np
import pytest

from ldm_jax.data.encoding.index import build_index, cut, load_index, save_index
from ldm_jax.data.rows import Row


def row(samples, captions=(), labels=()):
    empty = dict.fromkeys(
        ("hash", "transcript", "kind", "language", "speaker", "licence", "origin", "group"), ""
    )
    numbers = {"peak": 0.0, "loudness": 0.0, "quality": 0, "start": 0.0}
    return Row(audio=b"", sample_rate=100, samples=samples, name="x", captions=captions,
               labels=labels, **empty, **numbers)  # fmt: skip


@pytest.mark.parametrize(
    ("samples", "windows"),
    [
        ([10], [(0, 0, 10)]),
        ([3], [(0, 0, 3)]),  # the whole clip, however short
        ([14], [(0, 0, 10), (0, 10, 4)]),
        ([13], [(0, 0, 10)]),
        ([29, 10, 2], [(0, 0, 10), (0, 10, 10), (0, 20, 9), (1, 0, 10), (2, 0, 2)]),
        ([0, 5], [(1, 0, 5)]),
        ([], []),
    ],
)
def test_windows_follow_one_another(samples, windows):
    found = cut(samples, length=10, shortest=4)
    assert list(zip(*(column.tolist() for column in found), strict=True)) == windows


def test_without_a_shortest_every_sample_is_in_a_window():
    samples = np.random.default_rng(0).integers(0, 100, 50)
    found = cut(samples, length=10, shortest=0)
    np.testing.assert_array_equal(np.bincount(found.row, found.samples, minlength=50), samples)
    assert found.samples.min() > 0


def test_captions_are_counted_once(tmp_path):
    rows = {
        "test": [row(5, ("b", "a"))],
        "train": [row(5, ("a", "c")), row(5), row(5, (), ("Dog", "Rain")), row(5, ("b", ""))],
    }
    save_index(build_index(rows, length=10, shortest=1), tmp_path)
    index = load_index(tmp_path, rows)
    assert index is not None
    assert index.captions == ("", "b", "a", "c", "Dog, Rain.")
    texts = [index.captions[i] for i in index.caption_ids["train"]]
    assert texts == ["a", "c", "", "Dog, Rain.", "b", ""]
    assert index.caption_offsets["train"].tolist() == [0, 2, 3, 4, 6]


def test_an_index_that_is_not_whole_is_none(tmp_path):
    save_index(build_index({"train": [row(5)]}, length=10, shortest=1), tmp_path)
    (tmp_path / "captions.json").unlink()
    assert load_index(tmp_path, ["train"]) is None
