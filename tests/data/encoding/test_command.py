"""The command, in processes of its own. Slow: each loads jax and compiles."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from ldm_jax.convert import random_checkpoint
from ldm_jax.data.encoding.reading import open_encoding
from tests.data.encoding.test_encode import contents

OPTIONS = ("--seconds", 1.28, "--shortest", 0.5, "--batch", 2)
PART_OF_TWO = """
import sys, jax
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from ldm_jax.data.encoding.command import run
run(sys.argv[3], sys.argv[4], seconds=1.28, shortest=0.5, batch=2, shard=4)
"""


def process(*arguments):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def command(*arguments):
    return process("-m", "ldm_jax.data.encoding", *arguments)


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    folder = tmp_path_factory.mktemp("system") / "tiny"
    random_checkpoint.write("tiny", folder)
    return folder


@pytest.mark.slow
def test_killed_and_run_again(make, system):
    whole, killed = make(), make()
    out, errors = command(whole.folder, system, *OPTIONS).communicate()
    assert "has no network for loa: left out; AudioMAE's weights" in out
    assert "latents, clap_audio, t5, clap_text" in out, errors
    for what in ("captions", "windows"):  # on no terminal it tells how far it is, in lines
        assert any(x.startswith(f"{what}: 100%") for x in errors.splitlines()), errors
    (expected,) = (whole.folder / "encodings").iterdir()

    run = command(killed.folder, system, *OPTIONS)
    place = killed.folder / "encodings" / expected.name
    while not list(place.glob("t5-*")) and run.poll() is None:
        time.sleep(0.05)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    assert run.returncode == -signal.SIGKILL
    assert not (place / "encoding.json").exists()
    place.joinpath("test").mkdir(exist_ok=True)
    place.joinpath("test", ".latents-00000-killed.npy").write_bytes(b"half")  # as whole_file leaves
    again = command(killed.folder, system, *OPTIONS)
    again.communicate()
    assert again.returncode == 0
    assert contents(place) == contents(expected)
    assert open_encoding(killed, "test").settings.seconds == 1.28


@pytest.mark.slow
def test_two_processes_write_what_one_does(make, system):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    folders = []
    for ranks in ((0, 1), ()):
        prepared = make()
        runs = [
            process("-c", PART_OF_TWO, address, rank, prepared.folder, system) for rank in ranks
        ] or [process("-c", PART_OF_TWO.replace("jax.dis", "# "), "", 0, prepared.folder, system)]
        for run in runs:
            _, errors = run.communicate(timeout=300)
            assert run.returncode == 0, errors
        folders += (prepared.folder / "encodings").iterdir()
    two, one = folders
    assert two.name == one.name
    assert contents(two) == contents(one)


@pytest.mark.slow
def test_bad_input_is_one_line(make, system, tmp_path):
    prepared = make()
    for arguments, words in (
        ((tmp_path, system), "no prepared dataset in"),
        ((prepared.folder, tmp_path), "is not a checkpoint"),
        ((prepared.folder, system, "--what", "loa"), "has no audiomae: give its weights"),
        ((prepared.folder, system, "--seconds", "1.25"), "take a multiple of 0.04 s"),
        ((prepared.folder, system, "--audiomae", pathlib.Path(__file__)), "test_command.py"),
    ):
        run = command(*arguments)
        _, errors = run.communicate()
        assert run.returncode == 2
        assert words in errors
        assert errors.count("\n") == 1
