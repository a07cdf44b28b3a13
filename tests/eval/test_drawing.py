"""Clips of a checkpoint, drawn setting by setting."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import evaluate
from ldm_jax import AudioLDM2
from ldm_jax.config import Generation
from ldm_jax.convert import random_checkpoint
from ldm_jax.eval.clips import Clip, read_side
from ldm_jax.eval.drawing import Sweep, clip_seed, draw, title
from ldm_jax.eval.report.files import read_report
from tests.tiny_students import CONSISTENCY, PROGRESSIVE, write

ROOT = pathlib.Path(__file__).parents[2]
CLIPS = [
    Clip(name=name, path=pathlib.Path(name), captions=(caption,))
    for name, caption in (("dog", "a dog barks"), ("far/rain", "rain"), ("train", "a train"))
]
SETTINGS = Generation(seconds=0.64, steps=2, guidance_scale=2.0)


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    folder = tmp_path_factory.mktemp("system") / "tiny"
    random_checkpoint.write("tiny", folder)
    return folder


@pytest.fixture(scope="module")
def model(system):
    return AudioLDM2.from_pretrained(system)


def draw_all(model, folder, clips=CLIPS, settings=SETTINGS):
    source = {"checkpoint": "tiny", "preset": None, "dtype": None}
    draw(model, clips, folder, settings, source=source, batch=2)


def test_a_sweep_is_all_combinations():
    sweep = Sweep(steps=(2, 4), samplers=("ddim", "euler"), guidance_scales=(1.0, 3.5)).settings(
        None
    )
    assert len({title(one) for one in sweep}) == len(sweep) == 8
    assert title(sweep[0]) == "ddim-2-1"
    with pytest.raises(ValueError, match="steps must be from 1 to 1000, not 0"):
        Sweep(steps=(0,)).settings(None)


def test_a_sweep_of_nothing_is_a_checkpoints_own():
    """And what is asked for twice is drawn once."""
    for distilled, name in ((None, "ddim-200-3.5"), (PROGRESSIVE, "progressive-3-2.5")):
        assert [title(one) for one in Sweep().settings(distilled)] == [name]
    others = Generation(seconds=1.0, seed=4, candidates=2)
    (one,) = Sweep(generation=others).settings(CONSISTENCY)
    own = {"sampler": "consistency", "steps": 1, "guidance_scale": 4.0}
    assert one == dataclasses.replace(others, **own)
    assert len(Sweep(steps=(None, 1, 1, 2)).settings(CONSISTENCY)) == 2
    for change, message in (
        ({"steps": (1, 18)}, "allow 1 to 17 steps, not 18"),
        ({"samplers": (None, "ddim")}, "takes sampler 'consistency', not 'ddim'"),
        ({"guidance_scales": (2.0, 9.0)}, "guidance_scale from 0 to 6, not 9"),
        ({"generation": Generation(eta=1.0)}, "has no eta"),
    ):
        with pytest.raises(ValueError, match=message):
            Sweep(**change).settings(CONSISTENCY)


def test_each_clip_is_what_generate_gives(model, tmp_path):
    draw_all(model, tmp_path)
    side = read_side(tmp_path)
    assert [clip.name for clip in side.clips] == ["dog", "far/rain", "train"]
    assert [clip.captions for clip in side.clips] == [("a dog barks",), ("rain",), ("a train",)]
    assert (side.generation["steps"], side.generation["guidance_scale"]) == (2, 2.0)
    for clip in CLIPS:
        alone = model.generate(
            list(clip.captions) * 2,
            seconds=0.64,
            steps=2,
            guidance_scale=2.0,
            seed=clip_seed(clip.name, 0),
        )
        drawn, rate = soundfile.read(tmp_path / f"{clip.name}.wav")
        assert rate == alone.sample_rate
        np.testing.assert_allclose(drawn, np.clip(alone.audio[0], -1, 1), atol=2 / 32768)


def test_seeds_differ_by_clip_and_by_seed():
    seeds = {clip_seed(name, seed) for name in ("a", "b", "c") for seed in (0, 1)}
    assert len(seeds) == 6
    assert max(seeds) < 2**32


def test_only_what_is_missing_or_from_other_weights_is_drawn(model, tmp_path):
    draw_all(model, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")}
    (tmp_path / "train.wav").unlink()
    record = json.loads((tmp_path / "dog.json").read_text())
    record["model"]["checkpoint_hash"] = "another"
    (tmp_path / "dog.json").write_text(json.dumps(record))
    draw_all(model, tmp_path)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")}
    changed = {path.stem for path in after if after[path] != before[path]}
    assert changed == {"dog", "train"}
    draw_all(model, tmp_path, settings=dataclasses.replace(SETTINGS, steps=3))
    assert json.loads((tmp_path / "dog.json").read_text())["settings"]["steps"] == 3


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, str(ROOT / "evaluate.py"), *map(str, arguments)],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "COLUMNS": "120"},
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=400,
    )


def test_the_command_from_captions_to_a_curve(system, pair_folders, tmp_path):
    """A checkpoint over steps, with references; then its reports again, side by side."""
    table = tmp_path / "captions.csv"
    table.write_text("file,caption\nclip_00.wav,a dog\nclip_01.wav,rain\nclip_06.wav,wind\n")
    options = (
        "--preset",
        "own_encoders",
        "--metrics",
        "frechet_distance.clap",
        "clap_text",
        "mrstft",
    )
    done = run(
        *("--checkpoint", system, pair_folders[1], "--captions", table, "--steps", 2, 3),
        *("--seconds", 1.28, "--backbone", f"clap={system}", "--intervals", 50, "--no-cache"),
        *(*options, "-o", tmp_path / "out"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "ddim-2-3.5" in done.stdout
    assert "ddim-3-3.5" in done.stdout
    reports = [read_report(tmp_path / "out" / f"ddim-{n}-3.5" / "report.json") for n in (2, 3)]
    assert [report.generation["steps"] for report in reports] == [2, 3]
    names = {"frechet_distance.clap", "clap_text", "mrstft"}
    assert all({figure.name for figure in report.figures} == names for report in reports)
    assert all(report.generated.clips == 3 for report in reports)
    assert (tmp_path / "out" / "comparison.png").read_bytes()[:4] == b"\x89PNG"
    again = run("--compare", *(tmp_path / "out").glob("ddim-*/report.json"), cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "FD CLAP" in again.stdout


@pytest.fixture
def of_a_student(system, pair_folders, tmp_path):
    """Arguments of `evaluate.py`."""
    write(system, CONSISTENCY, into=tmp_path / "student")
    table = tmp_path / "captions.csv"
    table.write_text("file,caption\nclip_00.wav,a dog\nclip_01.wav,rain\n")
    return (
        *("--checkpoint", tmp_path / "student", pair_folders[1], "--captions", table),
        *("--seconds", 0.64, "--preset", "own_encoders", "--metrics", "mrstft"),
        *("--intervals", 0, "--no-cache"),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--steps", 1, 18), "allow 1 to 17 steps, not 18"),
        (("--guidance-scale", 4, 7), "guidance_scale from 0 to 6, not 7"),
        (("--sampler", "consistency", "ddim"), "takes sampler 'consistency', not 'ddim'"),
    ],
)
def test_what_a_student_does_not_take_is_told_before_anything_is_drawn(
    of_a_student, tmp_path, capsys, monkeypatch, options, message
):
    arguments = (*of_a_student, *options, "-o", tmp_path / "out")
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments)])
    assert evaluate.main() == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_command_draws_a_students_own_steps_and_a_curve(of_a_student, tmp_path):
    common = of_a_student
    done = run(*common, "-o", tmp_path / "own", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "consistency-1-4" in done.stdout
    done = run(*common, "--steps", 1, 2, 4, "-o", tmp_path / "curve", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = [f"consistency-{n}-4" for n in (1, 2, 4)]
    reports = [read_report(tmp_path / "curve" / name / "report.json") for name in names]
    assert [report.generation["steps"] for report in reports] == [1, 2, 4]
    assert {report.generation["sampler"] for report in reports} == {"consistency"}
    values = {report.figures[0].estimate.value for report in reports}
    assert len(values) == 3
