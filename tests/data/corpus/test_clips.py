"""The clips that other tests use are what their manifest and README say."""

import json
import pathlib

import pytest
import soundfile

from ldm_jax.data.corpus import reference

FOLDER = pathlib.Path(__file__).parents[2] / "clips"
ROWS = [json.loads(line) for line in (FOLDER / "manifest.jsonl").read_text().splitlines()]


def test_manifest_names_every_file():
    files = [path for path in FOLDER.rglob("*") if path.is_file() and path.parent != FOLDER]
    assert sorted(row["path"] for row in ROWS) == sorted(
        path.relative_to(FOLDER).as_posix() for path in files
    )
    assert sum(path.stat().st_size for path in files) < 400_000
    assert {row["split"] for row in ROWS} == {"train", "valid", "test"}
    assert {row["kind"] for row in ROWS} == {"sound", "music"}


def test_files_are_as_long_as_they_should_be():
    for row in ROWS:
        info = soundfile.info(FOLDER / row["path"])
        assert info.duration == pytest.approx(row["duration"], abs=0.005), row["path"]
    formats = {soundfile.info(FOLDER / row["path"]).format for row in ROWS}
    assert formats == {"OGG", "WAV", "FLAC", "MP3"}


def test_clips_of_the_corpus_are_rows_of_it():
    known = reference.reference()["sonic-pi-samples"].digests
    opus = [row for row in ROWS if row["path"].endswith(".opus")]
    assert len(opus) == 10
    assert all(reference.digest(row) in known for row in opus)


def test_every_clip_is_free_and_has_its_author_named():
    text = (FOLDER / "README.md").read_text()
    assert {row["licence"] for row in ROWS} == {"CC0"}
    for row in ROWS:
        name = pathlib.PurePosixPath(row["path"]).stem.rpartition("-")[0]
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
        assert "https://freesound.org/people/" in line
