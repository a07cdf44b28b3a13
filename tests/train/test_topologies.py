"""The same run on one device and eight, in one process and two, and from one to the other."""

import shutil
import signal
import subprocess
import sys

import pytest

from tests.train.running import (
    ROOT,
    TOY,
    assert_same,
    command,
    environment,
    final_state,
    interrupt,
    lines,
    run_toy,
)

pytestmark = pytest.mark.slow

FSDP = "--config.mesh.fsdp=4"
FEW = "--config.steps=14"


@pytest.fixture(scope="module")
def alone(prepared, tmp_path_factory):
    run = tmp_path_factory.mktemp("alone") / "run"
    done = run_toy(run, prepared, FEW)
    assert done.returncode == 0, done.stderr
    return run


def same_losses(one, other):
    for name in ("loss", "grad_norm"):
        assert [x[name] for x in lines(one).values()] == pytest.approx(
            [x[name] for x in lines(other).values()], rel=1e-5
        )


@pytest.mark.parametrize(
    "flags", [(), (FSDP,), (FSDP, "--config.accumulation=1", "--config.mesh.data=2")]
)
def test_eight_devices_train_as_one(alone, prepared, tmp_path, flags):
    run = tmp_path / "run"
    done = run_toy(run, prepared, FEW, *flags, devices=8)
    assert done.returncode == 0, done.stderr
    same_losses(run, alone)
    assert_same(run, alone, rtol=1e-5)


def launched(run, data, *flags):
    start = [sys.executable, "-m", "ldm_jax.parallel.launch", "--processes", "2", "--devices", "2"]
    return subprocess.run(
        [*start, "--", *command(TOY, run, *flags)[1:]],
        cwd=ROOT,
        env=environment(data),
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_two_processes_train_as_one_and_go_on_where_one_stopped(alone, prepared, tmp_path):
    run = tmp_path / "run"
    done = launched(run, prepared, FEW, "--config.mesh.fsdp=2")
    assert done.returncode == 0, done.stdout + done.stderr
    same_losses(run, alone)
    assert_same(run, alone, rtol=1e-5)
    # From four devices in two processes to one device in one, in the middle of the run.
    for path in ("checkpoints/00000014", "checksums/00000014.json", "checkpoints/00000012"):
        target = run / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    again = run_toy(run, prepared, FEW)
    assert again.returncode == 0, again.stderr
    assert "goes on after step 6" in again.stderr
    assert_same(run, alone, rtol=1e-5)


def test_a_signal_to_one_of_two_processes_stops_both_after_the_same_step(prepared, tmp_path):
    run = tmp_path / "run"
    start = [sys.executable, "-m", "ldm_jax.parallel.launch", "--processes", "2"]
    arguments = [*start, "--", *command(TOY, run, "--config.steps=4000")[1:]]
    code = interrupt(run, prepared, signal.SIGTERM, after=3, arguments=arguments, child=1)
    assert code == 143
    stopped = max(int(p.name) for p in (run / "checkpoints").glob("0*"))
    assert stopped == max(lines(run)) < 4000
    assert int(final_state(run)["['step']"]) == stopped
