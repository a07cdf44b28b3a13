"""Runs that end, are killed, go on, and go wrong: `train.py` from outside."""

import json
import re
import shutil
import signal
import struct

import jax
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from ldm_jax.audio.log_mel import MEL_16K, fit_frames, log_mel
from ldm_jax.data.prepared import open_prepared
from ldm_jax.data.segments import Shaping, segment
from ldm_jax.train.examples import HeldOut
from ldm_jax.train.log import read_log
from tests.train.running import assert_same, final_state, interrupt, lines, run_toy


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory):
    """An uninterrupted run."""
    run = tmp_path_factory.mktemp("whole") / "run"
    done = run_toy(run, prepared)
    assert done.returncode == 0, done.stderr
    return run


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(
    whole, prepared, tmp_path, number, code
):
    run = tmp_path / "run"
    assert interrupt(run, prepared, number, after=9) == code
    stopped = max(int(p.name) for p in (run / "checkpoints").iterdir() if p.name.isdigit())
    assert 6 <= stopped < 40
    if number == signal.SIGKILL:  # nobody had the time for one of its own
        assert stopped % 6 == 0
    done = run_toy(run, prepared)
    assert done.returncode == 0, done.stderr
    assert f"goes on after step {stopped} of" in done.stderr
    assert_same(run, whole)
    one, other = lines(run), lines(whole)
    assert list(sorted(one)) == list(range(1, 41))
    for name in ("loss", "grad_norm", "update_norm", "learning_rate"):
        assert [one[k][name] for k in one] == [other[k][name] for k in sorted(other)], name


def test_checkpoints_are_kept_by_rule(whole):
    kept = sorted(int(p.name) for p in (whole / "checkpoints").iterdir() if p.name.isdigit())
    assert kept == [30, 36, 40]
    assert sorted(int(p.stem) for p in (whole / "checksums").iterdir()) == kept


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(whole, prepared, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    files = [p for p in (run / "checkpoints/00000040").rglob("*") if p.is_file()]
    largest = max(files, key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    done = run_toy(run, prepared)
    assert done.returncode == 0, done.stderr
    assert "checkpoint 40 is damaged" in done.stderr
    assert largest.name in done.stderr
    assert "goes on after step 36" in done.stderr
    assert_same(run, whole)


def test_without_a_whole_checkpoint_it_stops(whole, prepared, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    for path in (run / "checkpoints").rglob("*"):
        if path.is_file() and path.stat().st_size > 200:
            path.write_bytes(path.read_bytes()[:-1])
    done = run_toy(run, prepared)
    assert done.returncode == 1
    assert re.search(r"no checkpoint in .* is whole", done.stderr.splitlines()[-1])


def test_a_full_disk_ends_the_run_with_the_last_checkpoint_whole(prepared, tmp_path):
    run = tmp_path / "run"
    done = run_toy(run, prepared, "--config.steps=12")
    assert done.returncode == 0, done.stderr
    before = final_state(run)

    # No file may grow beyond 24 KiB: of all that a run writes, a checkpoint alone has larger ones.
    limited = ("bash", "-c", 'ulimit -f 24; exec "$@"', "bash")
    done = run_toy(run, prepared, "--config.every.log=100", before=limited)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    told = done.stderr.splitlines()[-1]
    assert "File too large" in told
    assert "the last whole one is 12" in told
    after = final_state(run)
    for name, x in before.items():
        np.testing.assert_array_equal(after[name], x)
    assert not list((run / "checkpoints").glob("*tmp*"))
    assert run_toy(run, prepared).returncode == 0


def test_updates_that_are_not_finite_are_skipped_and_in_the_end_stop_the_run(prepared, tmp_path):
    run = tmp_path / "run"
    flags = ("--config.stage.poison=(3, 4, 5, 8, 20, 21, 22, 23)", "--config.bad_updates=4")
    done = run_toy(run, prepared, *flags)
    assert done.returncode == 1
    told = done.stderr.splitlines()[-1]
    assert "4 updates in a row, up to step 24," in told
    assert len(re.findall(r"[\w-]+/[\w./-]+|\w+\.flac", told)) >= 4, told
    skipped = [k for k, line in lines(run).items() if line["skipped"]]
    assert skipped[:4] == [4, 5, 6, 9]
    assert all(lines(run)[k]["loss"] is None for k in skipped)


def test_validation_and_previews_are_of_the_averaged_weights(prepared, tmp_path):
    """With a learning rate of 0 nothing moves, so that every look sees the same."""
    run = tmp_path / "run"
    flags = ("--config.steps=6", "--config.every.validation=3", "--config.every.preview=3")
    still = ("--config.optimizer.learning_rate=0.0", "--config.every.validation_batches=2")
    done = run_toy(run, prepared, *flags, *still)
    assert done.returncode == 0, done.stderr
    told = read_log(run)
    losses = [line["val/loss"] for line in told if "val/loss" in line]
    assert len(losses) == 2
    assert losses[0] == losses[1] > 0
    weights = [line["preview/weight"] for line in told if "preview/weight" in line]
    kernel = final_state(run)["['ema']['line']['line']['kernel']"]
    assert weights == pytest.approx([np.abs(kernel).sum()] * 2, rel=1e-6)


def test_the_loss_is_that_of_the_clips(prepared, tmp_path):
    """Validation by hand: the same clips, shuffled alike, through the same front end, without training's noise."""
    run = tmp_path / "run"
    flags = ("--config.steps=2", "--config.every.validation=2")
    still = ("--config.optimizer.learning_rate=0.0", "--config.every.validation_batches=1")
    done = run_toy(run, prepared, *flags, *still)
    assert done.returncode == 0, done.stderr
    rows = open_prepared(prepared).rows("validation")
    state = final_state(run)
    weight, bias = (state[f"['ema']['line']['line']['{x}']"] for x in ("kernel", "bias"))
    errors = []
    _, places = HeldOut((len(rows),))(range(8))
    for place in places:
        wave = segment(
            rows[int(place)],
            Shaping(seconds=0.64, random_start=False, caption="first"),
            np.random.default_rng(0),
        ).wave
        mel = fit_frames(log_mel(wave, MEL_16K), 64)
        errors.append(float((mel.mean(0) / 10 @ weight + bias)[0] ** 2))
    (told,) = [line["val/loss"] for line in read_log(run) if "val/loss" in line]
    assert told == pytest.approx(np.mean(errors), rel=1e-5)


def test_event_files_and_profile(prepared, tmp_path):
    run = tmp_path / "run"
    flags = ("--config.steps=4", "--config.tensorboard=True", "--config.profile=(2, 3)")
    done = run_toy(run, prepared, *flags)
    assert done.returncode == 0, done.stderr
    (events,) = (run / "tensorboard").iterdir()
    losses = {}
    for record in tf_records(events.read_bytes()):
        event = Event.FromString(record)
        for value in event.summary.value:
            if value.tag == "loss":
                losses[event.step] = value.simple_value
    assert losses == pytest.approx({k: line["loss"] for k, line in lines(run).items()}, rel=1e-6)
    (trace,) = (run / "profile").rglob("*.xplane.pb")
    assert trace.stat().st_size > 1000


def tf_records(content):
    """TFRecord: length, its checksum, data, its checksum."""
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        yield content[12 : 12 + length]
        content = content[16 + length :]


def test_a_run_keeps_what_made_it(whole):
    about = json.loads((whole / "run.json").read_text())
    assert about["config"]["optimizer"]["warmup_steps"] == 5
    assert about["config"]["stage"]["class"] == "Fit"
    assert about["config"]["data"]["peak"] == 0.5
    assert about["versions"]["jax"] == jax.__version__
    assert len(about["git"]["commit"]) == 40
    assert any(x.startswith("--workdir") for x in about["command"])
