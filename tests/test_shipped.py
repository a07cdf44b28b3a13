"""The checkpoint that comes with the package: whole, small, and what `sample.py` takes where none is named."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from ldm_jax.convert.load import load, read_own
from ldm_jax.shipped import DEFAULT, shipped
from tests.train.running import ROOT

PARTS = {"unet", "vae", "vocoder", "clap", "t5", "gpt2", "translator", "audiomae"}


def test_it_is_a_whole_system_of_a_package_s_size():
    folder = shipped(DEFAULT)
    assert folder is not None
    checkpoint = load(DEFAULT)
    assert set(checkpoint.networks) == PARTS
    assert set(checkpoint.tokenizers) == {"clap", "t5"}
    assert read_own(DEFAULT).seconds == checkpoint.seconds == 5.12
    assert checkpoint.loa_tokens == 4
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 60e6
    assert (folder / "README.md").is_file()


def test_a_path_comes_before_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / DEFAULT).mkdir()
    with pytest.raises(ValueError, match="small is not a checkpoint"):
        load(DEFAULT)
    assert shipped("large") is None


def test_sample_takes_it(tmp_path):
    command = [sys.executable, "sample.py", "a dog barks", "--steps", "2"]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "dog.wav")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    wave, rate = soundfile.read(tmp_path / "dog.wav")
    assert (len(wave), rate) == (round(5.12 * 16_000), 16_000)
    assert np.isfinite(wave).all()
    assert wave.std() > 0
    assert json.loads((tmp_path / "dog.json").read_text())["settings"]["checkpoint"] == DEFAULT
