"""`sample.py` as a user runs it, in processes of its own."""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from ldm_jax.command import add_arguments, plan_jobs
from ldm_jax.convert import random_checkpoint
from tests.tiny_students import CONSISTENCY, PROGRESSIVE, write

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    random_checkpoint.write("tiny", folder / "tiny")
    return folder / "tiny"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return {**os.environ, "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(cache)}


def sample(environment, *arguments):
    command = [sys.executable, str(ROOT / "sample.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


QUICK = ("--seconds", "0.3", "--steps", "2")


def test_a_prompt_becomes_a_file_and_can_be_made_again(checkpoint, environment, tmp_path):
    arguments = ("a dog barks", "--checkpoint", checkpoint, *QUICK)
    first = sample(environment, *arguments, "-o", tmp_path / "a.wav", "--spectrogram")
    assert first.returncode == 0, first.stderr
    assert "s of audio per second" in first.stdout
    wave, rate = soundfile.read(tmp_path / "a.wav")
    assert (rate, len(wave)) == (16_000, 4800)
    assert wave.std() > 1e-3
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["settings"]["prompt"] == "a dog barks"
    assert record["settings"]["steps"] == 2
    assert record["model"]["checkpoint_hash"]
    second = sample(environment, *arguments, "-o", tmp_path / "b.flac")
    assert second.returncode == 0, second.stderr
    again, _ = soundfile.read(tmp_path / "b.flac")
    assert np.array_equal(again, wave)


def test_a_killed_batch_goes_on_where_it_stopped(checkpoint, environment, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(
        "".join(json.dumps({"prompt": f"dog {i}", "seed": i}) + "\n" for i in range(6))
    )
    out = tmp_path / "clips"
    arguments = ("--prompts", prompts, "--checkpoint", checkpoint, "-o", out, *QUICK)
    command = [sys.executable, str(ROOT / "sample.py"), *map(str, arguments)]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 300
    while not list(out.glob("*.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*.json")}
    assert kept
    finished = sample(environment, *arguments)
    assert finished.returncode == 0, finished.stderr
    assert sorted(path.name for path in out.glob("*.wav")) == [f"{i}-dog-{i}.wav" for i in range(6)]
    assert all(path.stat().st_mtime_ns == then for path, then in kept.items())
    for i in range(6):
        assert json.loads((out / f"{i}-dog-{i}.json").read_text())["settings"]["seed"] == i
    third = sample(environment, *arguments)
    assert third.stdout == "6 clips are there already\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a dog", "--checkpoint", "smal"], "smal is not a file or folder here"),
        (["a dog", "--checkpoint", "missing/folder/x"], "missing/folder/x"),
        (["", "--checkpoint", "{checkpoint}"], "the prompt is empty"),
        (["--checkpoint", "{checkpoint}"], "either a prompt or --prompts"),
        (["a dog", "--checkpoint", "{checkpoint}", "--steps", "0"], "steps must be"),
        (["a dog", "--checkpoint", "{checkpoint}", "--seconds=-3"], "seconds must be"),
        (
            ["a dog", "--checkpoint", "{checkpoint}", "--guidance-scale", "nan"],
            "guidance_scale must be",
        ),
        (["a dog", "--checkpoint", "{checkpoint}", "--sampler", "magic"], "magic"),
        (["a dog", "--checkpoint", "{checkpoint}", "--transcript", "hi"], "no phoneme encoder"),
        (["a dog", "--checkpoint", "{checkpoint}", "-o", "/proc/none/x.wav"], "cannot write to"),
        (["a dog", "--checkpoint", "{checkpoint}", "-o", "{out}/x.mp3"], "must be one of .wav"),
        (["--prompts", "{bad}", "--checkpoint", "{checkpoint}"], "line 2: not UTF-8"),
        (["a dog", "--checkpoint", "{bad}"], "is not a checkpoint"),
        (["a dog", "--quality", "good"], "'good' is none of best, fast, instant"),
        (["a dog", "--quality", "fast", "--checkpoint", "{checkpoint}"], "not allowed with"),
    ],
)
def test_bad_input_is_one_sentence_status_2_and_no_file(
    checkpoint, environment, tmp_path, arguments, message
):
    bad, out = tmp_path / "bad.txt", tmp_path / "out"
    bad.write_bytes(b"good\n\xff\n")
    values = {"checkpoint": checkpoint, "bad": bad, "out": out}
    arguments = [argument.format(**values) for argument in arguments]
    if "-o" not in arguments:
        arguments += ["-o", str(out / "x.wav")]
    done = sample(environment, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not [path for path in out.rglob("*") if path.is_file()]


def planned(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return plan_jobs(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture(scope="module")
def students(checkpoint, tmp_path_factory):
    """Folders of distilled checkpoints; only their `model.json` is read here."""
    folder = tmp_path_factory.mktemp("students")
    for distilled in (CONSISTENCY, PROGRESSIVE):
        write(checkpoint, distilled, into=folder / distilled.method)
    return folder


@pytest.mark.parametrize(
    ("name", "options", "used"),
    [
        ("tiny", (), (200, 3.5, "ddim")),
        ("tiny", ("--steps", 7, "--guidance-scale", 0), (7, 0.0, "ddim")),
        ("consistency", (), (1, 4.0, "consistency")),
        ("consistency", ("--steps", 4, "--guidance-scale", 2), (4, 2.0, "consistency")),
        ("progressive", (), (3, 2.5, "progressive")),
        (
            "progressive",
            ("--sampler", "progressive-stochastic"),
            (6, 2.5, "progressive-stochastic"),
        ),
    ],
)
def test_records_keep_what_was_used(checkpoint, students, tmp_path, name, options, used):
    """So an option that is left out and its value are one clip."""
    source = checkpoint if name == "tiny" else students / name
    common = ("rain", "--checkpoint", source, "-o", tmp_path / "x.wav")
    ((job,), finished) = planned(*common, *options)
    assert finished == 0
    assert tuple(job.settings[key] for key in ("steps", "guidance_scale", "sampler")) == used
    job.audio.touch()
    job.record.write_text(json.dumps({"settings": job.settings}))
    assert planned(*common, *options) == ([], 1)
    steps, scale, sampler = used
    spelt = ("--steps", steps, "--guidance-scale", scale, "--sampler", sampler)
    assert planned(*common, *spelt) == ([], 1)
    other = ("--guidance-scale", 5) if name == "tiny" else ("--guidance-scale", 1.5)
    assert len(planned(*common, *options, *other)[0]) == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tiny", ("--sampler", "consistency"), "this one is not distilled"),
        ("progressive", ("--steps", 25), "distilled to 3 steps"),
        ("progressive", ("--karras",), "has no karras"),
        ("consistency", ("--steps", 18), "allow 1 to 17 steps, not 18"),
        ("consistency", ("--guidance-scale", 6.5), "guidance_scale from 0 to 6, not 6.5"),
        ("consistency", ("--negative-prompt", "music"), "which this distilled checkpoint lacks"),
        ("consistency", ("--sampler", "ddim"), "takes sampler 'consistency', not 'ddim'"),
    ],
)
def test_what_a_student_does_not_take_is_said_before_its_weights_are_read(
    checkpoint, students, tmp_path, name, options, message
):
    source = checkpoint if name == "tiny" else students / name
    with pytest.raises(ValueError, match=message):
        planned("rain", "--checkpoint", source, "-o", tmp_path / "x.wav", *options)
    assert not list(tmp_path.iterdir())


def test_a_student_is_sampled_like_any_other(students, environment, tmp_path):
    arguments = ("a dog", "--checkpoint", students / "consistency", "--seconds", "0.3")
    done = sample(environment, *arguments, "--steps", "2", "-o", tmp_path / "a.wav")
    assert done.returncode == 0, done.stderr
    assert "distilled to 1 step; it is sampled in 2" in done.stderr
    record = json.loads((tmp_path / "a.json").read_text())
    assert (record["settings"]["steps"], record["settings"]["sampler"]) == (2, "consistency")
    assert record["model"]["distilled"]["method"] == "consistency"
    refused = sample(environment, *arguments, "--steps", "99", "-o", tmp_path / "b.wav")
    assert refused.returncode == 2
    assert "allow 1 to 17 steps, not 99" in refused.stderr
    assert not (tmp_path / "b.wav").exists()
