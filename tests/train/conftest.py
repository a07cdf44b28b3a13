"""Real clips, prepared once."""

import pathlib
import subprocess
import sys

import pytest

CLIPS = pathlib.Path(__file__).parents[1] / "clips"


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    command = [sys.executable, "-m", "ldm_jax.data.prepare", str(CLIPS), "--out", str(folder)]
    done = subprocess.run(
        [*command, "--name", "clips", "--validation", "0.2"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return str(folder / "clips")
