"""The checkpoints that come with the package: whole, small, and what `sample.py` takes where none is named."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from ldm_jax.convert.load import load, read_own
from ldm_jax.shipped import DEFAULT, QUALITIES, QUICK, shipped
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
    assert (folder / "README.md").is_file()


def test_all_of_them_have_a_package_s_size():
    files = [path for name in QUALITIES.values() for path in shipped(name).rglob("*")]
    assert sum(path.stat().st_size for path in files if path.is_file()) < 60e6


@pytest.mark.parametrize(
    ("quality", "method", "steps"), [("fast", "progressive", 25), ("instant", "consistency", 1)]
)
def test_its_students_share_all_but_the_unet(quality, method, steps):
    folder = shipped(QUALITIES[quality])
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "unet.safetensors"]
    student, teacher = load(QUALITIES[quality]), load(DEFAULT)
    assert (student.distilled.method, student.distilled.steps) == (method, steps)
    low, high = student.distilled.guidance
    assert low <= student.distilled.guidance_scale <= high
    assert set(student.networks) == PARTS
    assert student.scheduler == teacher.scheduler
    assert (student.seconds, student.loa_tokens) == (teacher.seconds, teacher.loa_tokens)
    for name in PARTS - {"unet"}:
        assert student.networks[name] == teacher.networks[name]


def test_a_path_comes_before_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / DEFAULT).mkdir()
    with pytest.raises(ValueError, match="small is not a checkpoint"):
        load(DEFAULT)
    assert shipped("large") is None


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        ((), QUICK),
        (("--checkpoint", "small", "--steps", "2"), DEFAULT),
        (("--quality", "instant"), QUALITIES["instant"]),
    ],
)
def test_sample_takes_it(asked, taken, tmp_path):
    command = [sys.executable, "sample.py", "a dog barks", *asked]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "dog.wav")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    wave, rate = soundfile.read(tmp_path / "dog.wav")
    assert (len(wave), rate) == (round(5.12 * 16_000), 16_000)
    assert np.isfinite(wave).all()
    assert wave.std() > 0
    assert json.loads((tmp_path / "dog.json").read_text())["settings"]["checkpoint"] == taken
