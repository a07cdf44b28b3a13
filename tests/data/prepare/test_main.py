"""The command, as a person meets it."""

import dataclasses
import io
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from ldm_jax.data.prepare.__main__ import main
from ldm_jax.data.prepared import open_prepared
from tests.data.prepare.material import contents, noise, noises, prepared, write

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command -> (exit code, standard output, standard error)."""

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["prepare", *map(str, arguments)])
        code = main()
        return code, *capsys.readouterr()

    return call


GOOD = {  # name -> how it is written
    "plain.wav": {},
    "plain.flac": {"rate": 44_100},
    "plain.ogg": {"rate": 48_000},
    "plain.mp3": {"rate": 22_050},
    "plain.opus": {"format": "OGG", "subtype": "OPUS"},
    "below/plain.wav": {},
    "long caption.wav": {},
    "no caption.wav": {},
    "8 kHz.wav": {"rate": 8_000},
    "96 kHz.flac": {"rate": 96_000},
    "192 kHz.wav": {"rate": 192_000},
    **{f"{channels} channels.wav": {"channels": channels} for channels in range(2, 9)},
}
BAD = {  # name -> why, and words of the reason
    "empty.wav": ("unreadable", "the file is empty"),
    "text.wav": ("unreadable", "not audio that can be read"),
    "truncated.wav": ("unreadable", "cut off"),
    "truncated.flac": ("unreadable", "cut off"),
    "truncated.mp3": ("unreadable", "cut off"),
    "nan.wav": ("unreadable", "not finite"),
    "silent.wav": ("silent", "nothing above -80 dBFS in 0.5 s"),
    "constant.wav": ("silent", "constant in 0.5 s"),
    "one sample.wav": ("short", "1 samples, where 0.1 s are asked for"),
    "twin.wav": ("duplicate", "the same sound as plain.wav (train)"),
    "missing.wav": ("source", "is not there"),
    "captions.csv, line 32": ("source", "not UTF-8 (byte 0xe9)"),
}


def horrors(folder):
    """A folder of `GOOD` and `BAD` files and a table of captions for them."""
    for number, (name, way) in enumerate(GOOD.items()):
        way = {"rate": 16_000, "channels": 1, **way}
        one = noise(number, 0.5, way["rate"])
        write(folder / name, np.stack([one] * way.pop("channels"), axis=1), **way)
    (folder / "plain.flac").rename(folder / "in truth flac.wav")
    for kind in ("wav", "flac", "mp3"):
        whole = write(folder / f"whole.{kind}", noise(100, 2.0))
        (folder / f"truncated.{kind}").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        whole.unlink()
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("this is not audio")
    write(folder / "silent.wav", np.zeros(8000))
    write(folder / "constant.wav", np.full(22_050, -0.7), 44_100)
    write(folder / "nan.wav", np.where(np.arange(8000) == 4000, np.nan, 0.1), subtype="FLOAT")
    write(folder / "one sample.wav", np.array([0.5]))
    write(folder / "twin.wav", noise(0, 0.5))
    names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*.*"))]
    said = {"long caption.wav": "x" * 10_000, "no caption.wav": ""}
    rows = [f"{name},{said.get(name, 'a sound')}" for name in names]
    rows += ["missing.wav,a sound", "plain.wav,the same again"]
    table = "\n".join(["file_name,caption", *rows]).encode() + b"\nplain.ogg,caf\xe9\n"
    (folder / "captions.csv").write_bytes(table)


def test_a_folder_of_horrors(tmp_path, run):
    horrors(tmp_path / "in")
    options = ["--out", tmp_path, "--name", "horrors", "--test", 0, "--validation", 0]
    code, out, err = run(tmp_path / "in", *options)
    assert code == 0
    opened = open_prepared(tmp_path / "horrors")
    rows = {row.name: row for split in opened.splits for row in opened.rows(split)}
    assert set(rows) == {*GOOD, "in truth flac.wav"} - {"plain.flac"}
    captions = {name: row.captions for name, row in rows.items()}
    special = {
        "plain.wav": ("a sound", "the same again"),
        "long caption.wav": ("x" * 10_000,),
        "no caption.wav": (),
    }
    assert captions == {name: special.get(name, ("a sound",)) for name in rows}
    for row in rows.values():
        wave, rate = soundfile.read(io.BytesIO(row.audio))
        assert (len(wave), rate) == (row.samples, 16_000)
        assert row.seconds == pytest.approx(0.5, abs=0.1 if "mp3" in row.name else 1e-4)
    lines = (opened.folder / "omissions.jsonl").read_text("utf-8").splitlines()
    omitted = {one["name"]: one for one in map(json.loads, lines)}
    assert {name: one["why"] for name, one in omitted.items()} == {
        name: why for name, (why, _) in BAD.items()
    }
    for name, (_, words) in BAD.items():
        assert words in omitted[name]["reason"]
    assert re.search(r"train +18 rows +0\.00 h", out)
    assert "left out, of 30; all are in omissions.jsonl:" in out
    assert "6 unreadable, such as empty.wav: the file is empty" in out
    assert "28/28" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{tmp}/nowhere", "--out", "{tmp}"], "nowhere"),
        (["{tmp}/void", "--out", "{tmp}"], "void has nothing that sounds"),
        (["{tmp}/in", "--out", "{tmp}/in/a.wav"], "cannot write to {tmp}/in/a.wav/in/1.0.0: Not a directory"),
        (["{tmp}/in", "--out", "{tmp}", "--layout", "tape"], "'tape' is no layout; known are"),
        (["{tmp}/in", "--out", "{tmp}", "--name", "A b"], "a dataset's name has small letters"),
        (["{tmp}/in", "--out", "{tmp}", "--captions", "{tmp}/x.csv"], "x.csv is not there"),
        (["{tmp}/in", "--out", "{tmp}", "--rate", "10"], "the rate must be from 1,000"),
        (["{tmp}/in", "--out", "{tmp}", "--codec", "opus", "--rate", "44100"], "Opus stores audio at 8000"),
        (["{tmp}/in", "--out", "{tmp}", "--test", "0.9", "--validation", "0.2"], "from 0 to 1 together"),
        (["{tmp}/in", "--out", "{tmp}", "--max-seconds", "nan"], "max-seconds must be above 0"),
        (["{tmp}/in", "--out", "{tmp}", "--min-seconds", "40"], "min-seconds must be from 0 to max-seconds"),
        (["{tmp}/in", "--out", "{tmp}", "--workers", "0"], "--workers must be 1 or more, not 0"),
        (["{tmp}/in", "--out", "{tmp}", "--limit", "0"], "limit must be 1 or more, not 0"),
        (["{tmp}/in", "--out", "{tmp}", "--require", "caption"], "nothing is left of 1 clips"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_in_a_sentence(tmp_path, run, arguments, words):
    write(tmp_path / "in/a.wav", noise(0, 0.2))
    (tmp_path / "void").mkdir()
    code, out, err = run(*[argument.format(tmp=tmp_path) for argument in arguments])
    assert (code, out) == (2, "")
    assert words.format(tmp=tmp_path) in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("ldm_jax.data.prepare: ")
    left = {path.name for path in tmp_path.iterdir()} - {"in"}
    assert left == ({"void", "in"} - {"in"})


@dataclasses.dataclass(frozen=True)
class Gated:
    """A file that opens when another one is there."""

    path: str
    gate: str

    def open(self):
        while not os.path.exists(self.gate):
            time.sleep(0.01)
        return open(self.path, "rb")


def gated(folder):
    """24 noises in eight shards, of which one in the fifth and one in the last wait for the gate."""
    clips = noises(folder / "in", 24)
    for place in (13, 23):
        location = Gated(clips[place].audio.path, str(folder / "gate"))
        clips[place] = dataclasses.replace(clips[place], audio=location)
    return clips


def test_what_kill_9_leaves_is_finished_by_a_second_run(tmp_path):
    program = "from tests.data.prepare.test_main import *; folder = pathlib.Path(sys.argv[1]); "
    program += "prepared(gated(folder), folder / 'killed', shard_clips=3, workers=2)"
    folder = tmp_path / "killed/noise/1.0.0"
    process = start(["-c", program, str(tmp_path)])

    def stuck():  # shards 0 to 3 are finished; 4 and 7 are being written, 5 and 6 wait for 4
        done, begun = folder.glob("journal/*.jsonl"), folder.glob("*.partial")
        return (len(list(done)), len(list(begun))) == (4, 4)

    wait_until(stuck, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(ValueError, match="was not prepared to the end"):
        open_prepared(folder)
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("journal/*.jsonl")}
    (tmp_path / "gate").touch()
    prepared(gated(tmp_path), tmp_path / "killed", shard_clips=3)
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    whole = prepared(gated(tmp_path), tmp_path / "whole", shard_clips=3)
    assert contents(folder) == contents(whole.folder)


@pytest.mark.slow
def test_a_full_disk_is_told_and_gone_on_from(tmp_path):
    import resource

    clips = noises(tmp_path / "in", 12, seconds=2.0)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(OSError, match=r"cannot write .*noise-train.*File too large$"):
            prepared(clips, tmp_path / "full", shard_clips=6)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    again = prepared(clips, tmp_path / "full", shard_clips=6)
    assert contents(again.folder) == contents(prepared(clips, tmp_path, shard_clips=6).folder)


@pytest.mark.slow
def test_killed_again_and_again_the_command_comes_to_its_end(tmp_path, run):
    for number in range(60):
        write(tmp_path / f"in/{number:02d}.wav", noise(number, 10.0, 96_000), 96_000)
    command = [tmp_path / "in", "--workers", "2", "--shard-clips", "2", "--out"]
    folder = tmp_path / "killed/in/1.0.0"
    for count in (1, 7, 14, 21):
        module = ["-m", "ldm_jax.data.prepare", *map(str, command), str(tmp_path / "killed")]
        process = start(module)
        wait_until(lambda: len(list(folder.glob("journal/*.jsonl"))) >= count, process)  # noqa: B023
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert len(list(folder.glob("journal/*.jsonl"))) < 30
    code, _, err = run(*command, tmp_path / "killed")
    assert code == 0
    assert int(re.search(r"(\d+)/60", err)[1]) >= 40  # it does not begin anew
    assert run(*command, tmp_path / "whole")[0] == 0
    assert contents(folder) == contents(tmp_path / "whole/in/1.0.0")


def start(arguments):
    """Python in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL
    )


def wait_until(ready, process):
    while not ready():
        assert process.poll() is None
        time.sleep(0.005)
