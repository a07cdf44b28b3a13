"""Real clips, prepared once."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

CLIPS = pathlib.Path(__file__).parents[1] / "clips"


def prepare(clips, folder):
    """The prepared set `folder/clips` of a folder with a manifest, a fifth of it held out."""
    command = [sys.executable, "-m", "ldm_jax.data.prepare", str(clips), "--out", str(folder)]
    done = subprocess.run(
        [*command, "--name", "clips", "--validation", "0.2"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return str(folder / "clips")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    return prepare(CLIPS, tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="session")
def spoken(tmp_path_factory):
    """The same recordings, with their captions as transcripts: none of them is speech."""
    folder = tmp_path_factory.mktemp("spoken")
    shutil.copytree(CLIPS, folder / "source")
    manifest = folder / "source" / "manifest.jsonl"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    changed = [line | {"transcript": line["caption"], "language": "en"} for line in lines]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in changed))
    return prepare(folder / "source", folder)
