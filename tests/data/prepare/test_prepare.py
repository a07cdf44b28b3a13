"""Whole preparations: the same bytes however they came about, and the same rows for every reader."""

import dataclasses
import io
import json
import os
import pickle
import shutil
import signal

import numpy as np
import pytest
import soundfile

from ldm_jax.data.clip import Omission
from ldm_jax.data.prepared import open_prepared
from ldm_jax.data.rows import from_example, sound_of
from tests.data.prepare.material import clip, contents, noise, noises, prepared, tone, write


@pytest.fixture(scope="module")
def twenty(tmp_path_factory):
    """Twenty noises in all splits, two of them the same, prepared by one worker."""
    folder = tmp_path_factory.mktemp("twenty")
    splits = ["train", "train", "train", "test", "validation"] * 4
    clips = [
        clip(
            write(folder / f"sounds/{i:03d}.wav", noise(i if i != 13 else 6, 0.3)),
            captions=(f"noise {i}", "hiss"),
            kind="sound" if i % 2 else "music",
            split=split,
        )
        for i, split in enumerate(splits)
    ]
    return clips, prepared(clips, folder / "out")


def test_tfds_reads_the_rows(twenty):
    import tensorflow_datasets as tfds

    clips, result = twenty
    kept = {one.name: one for one in clips if one.name != "006.wav"}
    for split in ("train", "validation", "test"):
        source = tfds.data_source("noise", split=split, data_dir=result.folder.parent.parent)
        rows = [from_example(example) for example in source]
        assert [row.name for row in rows] == [
            name for name, one in kept.items() if one.split == split
        ]
        for row in rows:
            wave, _ = soundfile.read(io.BytesIO(row.audio), dtype="int16")
            source_wave, _ = soundfile.read(kept[row.name].audio.path, dtype="int16")
            np.testing.assert_array_equal(wave, source_wave)
            assert row.captions == kept[row.name].captions
    part = tfds.data_source("noise", split="train[50%:]", data_dir=result.folder.parent.parent)
    assert [from_example(one).name for one in part] == [
        name for name, one in kept.items() if one.split == "train"
    ][-len(part) :]


def test_opened_it_gives_what_tfds_gives(twenty):
    import tensorflow_datasets as tfds

    _, result = twenty
    opened = open_prepared(result.folder.parent)
    assert opened.splits == {"train": 11, "validation": 4, "test": 4}
    for split, count in opened.splits.items():
        source = tfds.data_source("noise", split=split, data_dir=result.folder.parent.parent)
        rows = opened.rows(split)
        assert rows[:] == [from_example(example) for example in source]
        assert len(rows) == count
        assert opened.hashes(split) == [row.hash for row in rows]
        assert rows[-1] == pickle.loads(pickle.dumps(rows))[count - 1]
        with pytest.raises(IndexError, match=f"row {count} of {count}"):
            rows[count]


def test_a_sound_of_the_test_split_is_not_in_training(twenty):
    _, result = twenty
    opened = open_prepared(result.folder)
    hashes = [set(opened.hashes(split)) for split in opened.splits]
    assert sum(map(len, hashes)) == len(set.union(*hashes)) == 19
    assert [(one.name, one.reason) for one in result.omissions] == [
        ("006.wav", "the same sound as 013.wav (test)")
    ]
    assert "013.wav" in [row.name for row in opened.rows("test")]


def test_any_number_of_workers_writes_the_same_bytes(twenty, tmp_path):
    clips, result = twenty
    for workers in (2, 4):
        again = prepared(clips, tmp_path / str(workers), workers=workers)
        assert contents(again.folder) == contents(result.folder)


def test_nothing_is_done_twice_and_what_is_missing_is_done_again(twenty, tmp_path):
    clips, result = twenty
    folder = tmp_path / "noise/1.0.0"
    shutil.copytree(result.folder, folder)
    journal = sorted((folder / "journal").iterdir())[0]
    journal.unlink()  # killed between a shard and its journal
    shard = folder / "noise-train.array_record-00001-of-00003"
    shard.write_bytes(shard.read_bytes()[:1000])  # the machine lost power
    untouched = folder / "noise-train.array_record-00000-of-00003"
    before = untouched.stat().st_mtime_ns
    (folder / "noise-train.array_record-00002-of-00003.77.partial").write_bytes(b"begun")
    (folder / "encodings").mkdir()
    assert contents(prepared(clips, tmp_path).folder) == contents(result.folder)
    assert untouched.stat().st_mtime_ns == before
    assert (folder / "encodings").is_dir()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rate": 8000}, "was prepared otherwise: rate was 16000, now 8000; --overwrite"),
        ({"codec": "opus", "min_seconds": 0.2},
         "codec was flac, now opus, min-seconds was 0.1, now 0.2"),
        ({"limit": 19}, "limit was None, now 19"),
    ],
)  # fmt: skip
def test_other_settings_are_refused(twenty, changes, words):
    clips, result = twenty
    before = contents(result.folder)
    with pytest.raises(ValueError, match=words):
        prepared(clips, result.folder.parent.parent, **changes)
    assert contents(result.folder) == before


def test_other_clips_are_refused_or_overwrite(twenty, tmp_path):
    clips, result = twenty
    shutil.copytree(result.folder, tmp_path / "noise/1.0.0")
    with pytest.raises(ValueError, match="from 20 clips, where the source now has 19; --overwrite"):
        prepared(clips[1:], tmp_path)
    with pytest.raises(ValueError, match="other clips: names, captions or other fields have"):
        prepared([*clips[:-1], clip(clips[-1].audio.path, captions=("x",))], tmp_path)
    replaced = prepared(clips[:4], tmp_path, overwrite=True)
    fresh = prepared(clips[:4], tmp_path / "fresh")
    assert contents(replaced.folder) == contents(fresh.folder)


@pytest.mark.slow
def test_other_rows_have_another_fingerprint(twenty, tmp_path):
    clips, result = twenty
    renamed = [*clips[:-1], clip(clips[-1].audio.path, captions=("x",), split="validation")]
    other = prepared(renamed, tmp_path)
    assert open_prepared(other.folder).fingerprint != open_prepared(result.folder).fingerprint
    changed = open_prepared(other.folder).hashes("validation")
    assert changed == open_prepared(result.folder).hashes("validation")


def test_a_folder_in_use_is_left_alone(twenty):
    import fcntl

    clips, result = twenty
    with (result.folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process is preparing"):
            prepared(clips, result.folder.parent.parent)


def test_what_lies_there_of_another_making_is_left_alone(twenty, tmp_path):
    clips, _ = twenty
    shard = tmp_path / "noise/1.0.0/noise-train.array_record-00000-of-00001"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"precious")
    with pytest.raises(ValueError, match="is a dataset of another making; --overwrite"):
        prepared(clips, tmp_path)
    assert shard.read_bytes() == b"precious"


def test_nothing_left(tmp_path):
    silent = [clip(write(tmp_path / "in/a.wav", np.zeros(16_000))), clip("/nowhere/b.wav")]
    with pytest.raises(ValueError, match=r"nothing is left of 2 clips: .*omissions.jsonl says why"):
        prepared(silent, tmp_path / "out")
    lines = (tmp_path / "out/noise/1.0.0/omissions.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"name": "a.wav", "reason": "nothing above -80 dBFS in 1 s", "why": "silent"},
        {
            "name": "b.wav",
            "reason": "No such file or directory: /nowhere/b.wav",
            "why": "unreadable",
        },
    ]
    with pytest.raises(ValueError, match="nothing is left of 0 clips"):
        prepared([], tmp_path / "empty")


def test_every_omission_is_in_the_report(tmp_path):
    good, twin = noise(0, 0.5), noise(0, 0.5)
    clips = [
        Omission(name="line 7", reason="names no file"),
        clip(write(tmp_path / "good.wav", good), captions=("x" * 10_000, " ", "caf\udce9")),
        clip(write(tmp_path / "twin.flac", twin), captions=("a twin",)),
        clip(write(tmp_path / "other.wav", noise(1, 0.5)), name="good.wav", captions=("b",)),
        clip(write(tmp_path / "mute.wav", noise(2, 0.5)), captions=("",)),
        clip(write(tmp_path / "short.wav", noise(3, 0.05)), captions=("c",)),
        clip(write(tmp_path / "stereo.wav", np.stack([noise(4, 1.05)] * 2, 1)), captions=("d",)),
        clip(write(tmp_path / "spoken.wav", noise(5, 1.5)), captions=("e",), transcript="Hello."),
        clip(write(tmp_path / "off.wav", np.full(8000, 0.5)), name="o\udcff", captions=("f",)),
    ]
    result = prepared(clips, tmp_path / "out", require="caption", max_seconds=1.0, workers=2)
    assert {(one.name, one.why) for one in result.omissions} == {
        ("line 7", "source"),
        ("good.wav", "name"),
        ("twin.flac", "duplicate"),
        ("mute.wav", "caption"),
        ("short.wav", "short"),
        ("spoken.wav", "long"),
        ("o\\udcff", "silent"),
    }
    lines = (result.folder / "omissions.jsonl").read_text("utf-8").splitlines()
    assert {json.loads(line)["name"] for line in lines} == {one.name for one in result.omissions}
    rows = open_prepared(result.folder).rows("train")
    assert [row.captions for row in rows] == [("x" * 10_000, "caf\\udce9"), ("d",)]
    report = json.loads((result.folder / "report.json").read_text("utf-8"))
    assert report["clips"] == 9
    assert report["rows"] == 2
    assert report["hours"] == pytest.approx(1.5 / 3600)
    assert report["left_out"] == {one.why: 1 for one in result.omissions}
    assert report["captions_a_row"] == {"1": 1, "2": 1}
    assert report["source_channels"] == {"1": 1, "2": 1}
    assert report["cut_off"] == {"rows": 1, "seconds": 0.05}
    page = (result.folder / "report.html").read_text("utf-8")
    assert all(one.reason in page for one in result.omissions)


def test_one_kind_alone(twenty, tmp_path):
    clips, _ = twenty
    result = prepared(
        [*clips, dataclasses.replace(clips[0], name="x", kind="")], tmp_path, kind="music"
    )
    assert {one.why for one in result.omissions} == {"kind"}
    assert sorted(one.name for one in result.omissions) == sorted(
        ["x", *(one.name for one in clips if one.kind == "sound")]
    )
    names = [row.name for row in open_prepared(result.folder).rows("train")]
    assert names == [x.name for x in clips if x.kind == "music" and x.split == "train"]


@dataclasses.dataclass(frozen=True)
class Deadly:
    """A file that ends the process that opens it, as a crash of a decoder does."""

    def open(self):
        os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.slow
def test_a_clip_that_kills_its_reader_is_left_out_and_nothing_else(tmp_path):
    clips = noises(tmp_path / "in", 6)
    clips[2] = dataclasses.replace(clips[2], audio=Deadly())
    result = prepared(clips, tmp_path / "out", workers=2)
    rows = open_prepared(result.folder).rows("train")
    assert [row.name for row in rows] == [f"00{i}.wav" for i in (0, 1, 3, 4, 5)]
    assert [(one.name, one.why) for one in result.omissions] == [("002.wav", "crash")]


def test_every_rate_and_channel_count(tmp_path):
    """A sine of 440 Hz has its level and its pitch, however it came in."""
    rates = (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000)
    clips = []
    for place, rate in enumerate(rates):
        channels = place % 8 + 1
        wave = np.stack([tone(1.0, rate, level=0.4)] * channels, axis=1)
        wave[:, 0] *= 1 + channels * 0.01 * place  # so that no two are the same
        path = write(tmp_path / f"{rate}.wav", wave / (1 + 0.01 * place), rate, subtype="FLOAT")
        clips.append(clip(path))
    result = prepared(clips, tmp_path / "out")
    rows = open_prepared(result.folder).rows("train")
    assert [row.name for row in rows] == [one.name for one in clips]
    for row in rows:
        wave, rate = soundfile.read(io.BytesIO(row.audio))
        assert (len(wave), rate) == (16_000, 16_000)
        inner = wave[1000:-1000]
        expected = 0.4 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)[1000:-1000]
        np.testing.assert_allclose(inner, expected, atol=1e-4)
        assert row.loudness == pytest.approx(20 * np.log10(0.4) - 10 * np.log10(2), abs=0.02)


def test_opus(tmp_path):
    clips = noises(tmp_path, 3, seconds=0.31)
    result = prepared(clips, tmp_path / "out", codec="opus", rate=24_000)
    for row in open_prepared(result.folder).rows("train"):
        wave, rate = soundfile.read(io.BytesIO(row.audio))
        assert (row.samples, rate) == (7440, 24_000)
        assert len(wave) == 7440 + 1500  # and silence, which is not part of the clip
        np.testing.assert_array_equal(sound_of(row), wave[:7440].astype(np.float32))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nothing", "no prepared dataset in .*nothing.* makes DIR/NAME"),
        ("broken", "preparation.json is not JSON"),
        ("begun", "was not prepared to the end"),
    ],
)
def test_opening_what_is_not_there(tmp_path, path, words):
    for name, text in {"broken": "{", "begun": "{}"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "preparation.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        open_prepared(tmp_path / path)


def test_opening_by_name_and_split(twenty, monkeypatch):
    _, result = twenty
    monkeypatch.setenv("TFDS_DATA_DIR", str(result.folder.parent.parent))
    assert open_prepared("noise") == open_prepared(result.folder)
    with pytest.raises(ValueError, match="no split 'valid'; there are train, validation, test"):
        open_prepared("noise").rows("valid")
