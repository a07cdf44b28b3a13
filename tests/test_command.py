"""`sample.py` as a user runs it, in processes of its own."""

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

from ldm_jax.convert import random_checkpoint

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
        (["a dog"], "give --checkpoint"),
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
