"""`rows.jsonl` holds rows of the reference corpus, each with the file that it was made of and the hash of its sound."""

import json
import pathlib
from collections import Counter

import numpy as np
import pytest

from ldm_jax.audio.reading import AudioError
from ldm_jax.data.corpus import reference, waves
from ldm_jax.data.corpus.manifest import path_of, rows_of, split_of
from ldm_jax.data.corpus.packages import PACKAGES
from ldm_jax.data.corpus.recordings import Description, sound

TEXT = pathlib.Path(__file__).with_name("rows.jsonl").read_text(encoding="utf-8")
SAMPLES = [json.loads(line) for line in TEXT.splitlines()]
BY_NAME = {package.name: package for package in PACKAGES}
PLACES = {
    "0ad-data": "ancient world themed game music",
    "hyperrogue-music": "atmospheric game music",
    "openclonk-data": "game music",
    "redeclipse-data": "electronic action game music",
}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["row"]["path"])
def test_rows_of_the_reference_come_out_equal(sample):
    """Split, path, times, tags and captions of music are made anew; what a rule or text gives is put in."""
    row = sample["row"]
    caption = row["caption"]
    if row["kind"] == "music":
        caption = PLACES.get(row["source_package"], caption[caption.find("a musical loop") :])
    description = Description(
        kind=row["kind"],
        caption=caption,
        quality=row["caption_quality"],
        transcript=row["transcript"],
        language=row["language"],
        speaker=row["speaker"],
    )
    seconds = row["start"] + row["duration"]
    made = rows_of(
        np.full(round(seconds * waves.RATE), 0.1, np.float32),
        description,
        package=BY_NAME[row["source_package"]],
        file=sample["file"],
        hashed=sample["hash"],
        source_rate=row["source_rate"],
    )
    assert made[-1] == row
    assert list(made[-1]) == list(row)  # in the same order too
    assert reference.digest(made[-1]) in reference.reference()[row["source_package"]].digests


def test_samples_are_of_all_packages_kinds_and_splits():
    rows = [sample["row"] for sample in SAMPLES]
    assert {row["source_package"] for row in rows} == set(BY_NAME)
    assert {row["kind"] for row in rows} == {"sound", "music", "speech"}
    assert {row["split"] for row in rows} == {"train", "valid", "test"}


def test_splits_keep_together_what_belongs_together():
    def split(file, text=None, package="p"):
        kind = "speech" if text else "sound"
        description = Description(kind=kind, caption="", quality=3, transcript=text)
        return split_of(description, package=package, file=file)

    families = [
        [f"a/{name}_{take:02d}.ogg" for take in range(20)] for name in "abcdefghijklmnopqrst"
    ]
    assert all(len({split(file) for file in family}) == 1 for family in families)
    shares = Counter(split("x", text=f"sentence {k}") for k in range(10_000))
    assert shares["test"] == pytest.approx(300, abs=60)
    assert shares["valid"] == pytest.approx(300, abs=60)
    sentences = [f"Sentence {k}" for k in range(100)]
    assert [split("x", text) for text in sentences] == [
        split("y", text.lower(), "other") for text in sentences
    ]


def test_segments_of_music_leave_out_silence_and_what_remains():
    size = 163_840  # samples of 10.24 s
    wave = np.full(3 * size + 30_000, 0.1, np.float32)
    wave[size : 2 * size] = 0.004
    description = Description(kind="music", caption="of a game", quality=2)
    made = rows_of(
        wave, description, package=PACKAGES[7], file="x.ogg", hashed="0" * 12, source_rate=44_100
    )
    assert [(row["start"], row["duration"], row["caption"]) for row in made] == [
        (0.0, 10.24, "of a game"),
        (20.48, 10.24, "of a game"),
    ]
    assert "tags" not in made[0]  # the table does not know this track


def test_names_are_cut_and_have_no_spaces():
    path = path_of(
        sound("", 1), package="p", file="a/" + "b c" * 20 + ".ogg", hashed="123456789abc"
    )
    assert path == f"sound/p/{('b_c' * 20)[:40]}-123456.opus"


def test_ends_are_trimmed_and_peaks_levelled():
    wave = np.zeros(32_000, np.float32)
    wave[10_000:20_000] = 0.2
    wave[5_000] = 0.2 * 0.003  # softer than -50 dB
    prepared = waves.prepare(wave, trim=True)
    assert len(prepared) == 10_000 + 2 * 960 - 1
    assert prepared.max() == pytest.approx(0.95)
    assert np.flatnonzero(prepared)[0] == 960
    assert len(waves.prepare(wave, trim=False)) == 32_000
    loud = np.full(16_000, 0.5, np.float32)
    assert waves.prepare(loud, trim=True) is not None
    np.testing.assert_array_equal(waves.prepare(loud, trim=False), loud)
    assert waves.prepare(loud * 2, trim=False).max() == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("wave", "words"), [(np.ones(1_900), "0.119 s long"), (np.full(16_000, 9e-4), "silent")]
)
def test_waves_that_are_left_out(wave, words):
    with pytest.raises(AudioError, match=words):
        waves.prepare(wave.astype(np.float32), trim=True)


def test_opus_keeps_length_and_sound(tmp_path):
    time = np.arange(48_123) / waves.RATE
    wave = (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    for kind in ("sound", "music", "speech"):
        waves.write_opus(tmp_path / "a.opus", wave, kind=kind)
        read, rate = waves.read(tmp_path / "a.opus")
        assert (len(read), rate) == (len(wave), waves.RATE)
        assert np.corrcoef(read, wave)[0, 1] > 0.99
    assert [path.name for path in tmp_path.iterdir()] == ["a.opus"]


def test_comparing_with_a_reference():
    rows = [sample["row"] for sample in SAMPLES[:6]]
    versions = dict.fromkeys([row["source_package"] for row in rows], "1-2")
    expected = reference.read_reference(reference.format_reference(rows, versions))
    assert expected[rows[0]["source_package"]].version == "1-2"
    same = reference.compare(rows, expected)
    assert sum(difference.equal for difference in same.values()) == 6
    assert not any(difference.other or difference.missing for difference in same.values())
    changed = rows[0] | {"split": "test" if rows[0]["split"] == "train" else "train"}
    differences = reference.compare([changed, *rows[2:]], expected)
    difference = differences[rows[0]["source_package"]]
    assert difference.other == (changed,)
    assert sum(difference.missing for difference in differences.values()) == 2


def test_shipped_reference():
    expected = reference.reference()
    assert list(expected) == list(BY_NAME)
    assert sum(package.digests.total() for package in expected.values()) == 6086
    assert expected["0ad-data"].version == "0.0.26-1"
