"""Building from packages made here, whose recordings are those of `tests/clips`."""

import io
import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from ldm_jax.audio.reading import read_audio
from ldm_jax.data.corpus import __main__ as command
from ldm_jax.data.corpus import reference
from ldm_jax.data.corpus.building import build
from ldm_jax.data.corpus.fetching import FetchError, fetch
from ldm_jax.data.corpus.manifest import read_lines
from ldm_jax.data.corpus.packages import PACKAGES
from tests.data.corpus.packing import cat, deb

CLIPS = pathlib.Path(__file__).parents[2] / "clips/sound/sonic-pi-samples"
SAMPLES = "usr/share/sonic-pi/samples"
COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Sonic Pi
Source: https://example.org/sonic-pi

Files: *
Copyright: 2016 A. Author
License: MIT

Files: etc/samples/elec_twang.flac
Copyright: 2005 looppool
  and another | one
Source: http://example.org/13136/
License: CC0
 text of the licence

Files: debian/* app/gui/*
Copyright: 2020 A. Packager
License: GPL-2+
"""


def wav(samples, rate=44_100):
    data = io.BytesIO()
    soundfile.write(data, samples, rate, format="WAV", subtype="PCM_16")
    return data.getvalue()


def sonic_pi_files():
    snap = (CLIPS / "perc_snap-6e0379.flac").read_bytes()
    return {
        f"{SAMPLES}/elec_twang.wav": (CLIPS / "elec_twang-edb787.wav").read_bytes(),
        f"{SAMPLES}/perc_snap.flac": snap,
        f"{SAMPLES}/perc_snap9.flac": snap,
        f"{SAMPLES}/bd_short.wav": wav(np.ones(4_000)),
        f"{SAMPLES}/bd_silent.wav": wav(np.zeros(44_100)),
        f"{SAMPLES}/bd_broken.flac": snap[:9_000],
        f"{SAMPLES}/../buffers/rand-stream.wav".replace("samples/../", ""): wav(np.ones(44_100)),
        f"{SAMPLES}/README.md": b"# Samples\nAll CC0.\n",
        "usr/share/doc/sonic-pi-samples/copyright": COPYRIGHT.encode(),
        "usr/share/doc/sonic-pi-samples/changelog.gz": b"",
    }


@pytest.fixture
def debs(tmp_path):
    """A folder with one package of samples and one of an archive with two sounds."""
    folder = tmp_path / "debs"
    folder.mkdir()
    path = folder / "sonic-pi-samples_3.2.2~repack-8_all.deb"
    path.write_bytes(deb(sonic_pi_files()))
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 8_000)
    sounds = [('"Heavy Wind"', wav(noise)), ("empty place", wav(np.zeros(9)))]
    path = folder / "openttd-opensfx_9.9-1_all.deb"
    path.write_bytes(deb({"usr/share/games/opensfx.cat": cat(sounds)}, compression="gz"))
    return folder


def chosen(*names):
    return [package for package in PACKAGES if package.name in names]


SONIC_PI, OPEN_SFX = chosen("sonic-pi-samples"), chosen("openttd-opensfx")


def test_rows_are_those_of_the_reference_corpus(debs, tmp_path):
    """Two of the samples are the package's own, bit for bit, so that all of their rows is known."""
    out = tmp_path / "out"
    assert build(SONIC_PI, out, debs=debs) == {}
    rows = read_lines(out / "manifest.jsonl")
    assert [row["path"] for row in rows] == [
        "sound/sonic-pi-samples/elec_twang-edb787.opus",
        "sound/sonic-pi-samples/perc_snap-6e0379.opus",
    ]
    expected = reference.reference()["sonic-pi-samples"].digests
    assert all(reference.digest(row) in expected for row in rows)
    for row in rows:
        wave, rate = read_audio(out / row["path"])
        assert (wave.shape[1], rate, len(wave) / rate) == (
            1,
            16_000,
            pytest.approx(row["duration"], abs=1e-3),
        )


def test_what_is_left_out_has_a_reason(debs, tmp_path):
    out = tmp_path / "out"
    build(SONIC_PI, out, debs=debs)
    left_out = {
        pathlib.PurePosixPath(line["file"]).name: line["reason"]
        for line in read_lines(out / "left_out.jsonl")
    }
    assert set(left_out) == {
        "bd_short.wav", "bd_silent.wav", "bd_broken.flac", "perc_snap9.flac", "rand-stream.wav"
    }  # fmt: skip
    assert "0.091 s long" in left_out["bd_short.wav"]
    assert "silent" in left_out["bd_silent.wav"]
    assert "cut off" in left_out["bd_broken.flac"]
    assert (
        left_out["perc_snap9.flac"]
        == f"the same sound as sonic-pi-samples: {SAMPLES}/perc_snap.flac"
    )
    assert "tells in words" in left_out["rand-stream.wav"]


def test_attribution(debs, tmp_path):
    out = tmp_path / "out"
    build(SONIC_PI + OPEN_SFX, out, debs=debs)
    text = (out / "ATTRIBUTION.md").read_text()
    assert "## sonic-pi-samples 3.2.2~repack-8\n\n2 files; licence on their rows: CC0." in text
    assert "## openttd-opensfx 9.9-1\n\n1 file; licence on their rows: CC-BY-SA-3.0." in text
    assert "From https://example.org/sonic-pi." in text
    assert (
        "| etc/samples/elec_twang.flac | 2005 looppool and another \\| one | CC0 | http://example.org/13136/ |"
        in text
    )
    assert "A. Packager" not in text
    licences = out / "licences/sonic-pi-samples"
    assert (licences / "copyright").read_text() == COPYRIGHT
    assert (
        licences / f"{SAMPLES.replace('/', '_')}_README.md"
    ).read_text() == "# Samples\nAll CC0.\n"
    assert "_README.md`" in text


def test_sounds_of_an_archive(debs, tmp_path):
    build(OPEN_SFX, tmp_path, debs=debs)
    (row,) = read_lines(tmp_path / "manifest.jsonl")
    assert row["caption"] == "a sound from a transport game: heavy wind"
    assert row["path"].startswith("sound/openttd-opensfx/osfx_00-")


def test_packages_add_up_and_are_built_once(debs, tmp_path):
    out = tmp_path / "out"
    build(OPEN_SFX, out, debs=debs)
    assert len(read_lines(out / "manifest.jsonl")) == 1
    for path in debs.glob("openttd*"):
        path.unlink()  # it is not needed again
    build(SONIC_PI + OPEN_SFX, out, debs=debs)
    rows = read_lines(out / "manifest.jsonl")
    assert [row["source_package"] for row in rows] == ["sonic-pi-samples"] * 2 + ["openttd-opensfx"]
    together = tmp_path / "together"
    (debs / "openttd-opensfx_1_all.deb").write_bytes(
        deb({"a/opensfx.cat": cat([('"Heavy Wind"', wav(np.random.default_rng(0).uniform(-0.5, 0.5, 8_000)))])})
    )  # fmt: skip
    build(SONIC_PI + OPEN_SFX, together, debs=debs)
    assert read_lines(together / "manifest.jsonl") == rows
    (out / rows[0]["path"]).unlink()  # a file that has gone is made again
    build(SONIC_PI, out, debs=debs)
    assert (out / rows[0]["path"]).exists()


def test_a_package_that_cannot_be_had_is_a_line(debs, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    (debs / "yaru-theme-sound_1_all.deb").write_bytes(b"<html>not found</html>")
    out = tmp_path / "out"
    failures = build(SONIC_PI + chosen("gnome-audio", "yaru-theme-sound"), out, debs=debs)
    assert "apt-get is not on this machine" in failures["gnome-audio"]
    assert "not a Debian package" in failures["yaru-theme-sound"]
    assert len(read_lines(out / "manifest.jsonl")) == 2
    lines = [line for line in read_lines(out / "left_out.jsonl") if line["file"] is None]
    assert {line["package"]: line["reason"] for line in lines} == failures


def test_fetching_takes_what_lies_there(debs):
    assert fetch("openttd-opensfx", debs).name == "openttd-opensfx_9.9-1_all.deb"


def test_fetching_says_what_apt_says(tmp_path, monkeypatch):
    apt = tmp_path / "apt-get"
    apt.write_text(
        "#!/bin/sh\necho 'W: unsandboxed'\necho 'E: Unable to locate package x'\nexit 100\n"
    )
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(FetchError, match="Unable to locate package x"):
        fetch("x", tmp_path / "debs")
    assert list((tmp_path / "debs").iterdir()) == []


KILLED = """
import os, pathlib, signal, sys
from ldm_jax.data.corpus import building, packages, waves

write, written = waves.write_opus, []

def write_or_die(path, wave, *, kind):
    if written:
        (path.parent / f".{path.stem}-half.opus").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, wave, kind=kind)
    written.append(path)

waves.write_opus = write_or_die
chosen = [package for package in packages.PACKAGES if package.name == "sonic-pi-samples"]
building.build(chosen, pathlib.Path(sys.argv[1]), debs=pathlib.Path(sys.argv[2]), workers=1)
"""


def test_a_killed_run_is_finished_by_the_next(debs, tmp_path):
    out = tmp_path / "out"
    run = subprocess.run(
        [sys.executable, "-c", KILLED, str(out), str(debs)], capture_output=True, text=True
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    (first,) = out.glob("sound/*/[!.]*.opus")
    before = first.stat().st_mtime_ns
    assert not (out / "manifest.jsonl").exists()
    assert (out / ".build/sonic-pi-samples").exists()
    build(SONIC_PI, out, debs=debs)
    assert first.stat().st_mtime_ns == before  # not made again
    build(SONIC_PI, tmp_path / "unbroken", debs=debs)
    names = [
        sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        for folder in (out, tmp_path / "unbroken")
    ]
    assert names[0] == names[1]
    assert read_lines(out / "manifest.jsonl") == read_lines(tmp_path / "unbroken/manifest.jsonl")


def test_command(debs, tmp_path, capsys):
    out, files = str(tmp_path / "out"), str(debs)
    assert command.main(["--list"]) == 0
    assert "sonic-pi-samples                  21.9 MB    156  CC0\n" in capsys.readouterr().out
    assert command.main(["--out", out, "--packages", "sonic-pi-samples", "--debs", files]) == 0
    printed = capsys.readouterr().out
    assert "2 rows" in printed
    assert "5 files left out" in printed
    assert "version" not in printed
    assert command.main(["--out", out, "--packages", "sonic-pi-samples", "--check"]) == 1
    assert "2 equal, 154 of the reference missing" in capsys.readouterr().out
    assert command.main(["--out", out, "--packages", "nonsense"]) == 2
    assert "unknown package nonsense; the corpus is made of asterisk" in capsys.readouterr().err
    assert command.main(["--out", str(tmp_path / "none"), "--check"]) == 2
    with pytest.raises(SystemExit):
        command.main([])


def test_another_release_is_told(debs, tmp_path, capsys):
    (file,) = debs.glob("sonic*")
    file.rename(debs / "sonic-pi-samples_4.0-1_all.deb")
    arguments = ["--out", str(tmp_path), "--packages", "sonic-pi-samples", "--debs", str(debs)]
    assert command.main(arguments) == 0
    assert "sonic-pi-samples: version 4.0-1, not 3.2.2~repack-8 as in" in capsys.readouterr().out


def test_checking_names_rows_that_differ(debs, tmp_path, capsys):
    out = tmp_path / "out"
    build(SONIC_PI, out, debs=debs)
    rows = read_lines(out / "manifest.jsonl")
    rows[0]["caption"] = "something else"
    (out / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert command.main(["--out", str(out), "--packages", "sonic-pi-samples", "--check"]) == 1
    printed = capsys.readouterr().out
    assert "1 equal, 1 that the reference does not have, 155 of the reference missing" in printed
    assert f"{rows[0]['path']} at 0.0 s: something else" in printed
