"""Chains of students in processes of their own: interrupted, killed between rounds, exported, read again."""

import dataclasses
import json
import pathlib
import shutil
import signal

import numpy as np
import pytest

from ldm_jax.convert import native
from ldm_jax.diffusion.distilled import Distilled
from ldm_jax.train.export import assemble
from ldm_jax.train.log import read_log
from ldm_jax.train.representation import flat
from ldm_jax.train.trained import read_run
from tests.train.distillation_config import ROUND, write_system
from tests.train.running import assert_same, command, interrupt, lines, run_toy

pytestmark = pytest.mark.slow

CONFIG = "tests/train/distillation_config.py"
FOUR = Distilled(
    method="progressive",
    steps=4,
    timesteps=(999.0, 749.0, 499.0, 249.0),
    guidance=(0.0, 6.0),
    guidance_scale=3.0,
)
TWO = dataclasses.replace(FOUR, steps=2, timesteps=(999.0, 499.0))


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    return write_system(tmp_path_factory.mktemp("system"))


@pytest.fixture(scope="module")
def guided(system, prepared, tmp_path_factory):
    """A run of LoRA, with the scale as an input."""
    run = tmp_path_factory.mktemp("guided") / "run"
    done = run_toy(run, prepared, f"--config.checkpoint={system}", config=f"{CONFIG}:guided")
    assert done.returncode == 0, done.stderr
    return run


@pytest.fixture(scope="module")
def flags(system, guided):
    return (f"--config.checkpoint={system}", f"--config.weights.unet={guided}")


@pytest.fixture(scope="module")
def whole(prepared, flags, tmp_path_factory):
    """An uninterrupted chain, that was looked at now and then."""
    run = tmp_path_factory.mktemp("whole") / "run"
    looks = (
        f"--config.every.validation={ROUND}",
        f"--config.every.preview={ROUND}",
        "--config.prompts.texts=('a bell',)",
    )
    done = run_toy(run, prepared, *flags, *looks, config=f"{CONFIG}:progressive")
    assert done.returncode == 0, done.stderr
    return run


def same(one, other):
    one, other = flat(one), flat(other)
    assert one.keys() == other.keys()
    for path, x in one.items():
        np.testing.assert_array_equal(np.asarray(x), np.asarray(other[path]), err_msg=path)


def test_a_lora_of_a_student_that_is_told_the_scale(guided, system):
    """What was added is there, what was learnt is merged, and it is read from the checkpoint as it was exported."""
    export = native.load(guided / "export")
    assert export.distilled == Distilled(
        method="guided", guidance=(0.0, 6.0), guidance_scale=3.0, pure_noise=True
    )
    assert export.scheduler["prediction_type"] == "v_prediction"
    assert export.networks["unet"].guidance_features == 16
    read = read_run(guided)
    same(read.params["unet"], export.params["unet"])
    assert read.system.distilled == export.distilled
    paths, teacher = (
        flat(export.params["unet"]),
        flat(native.load(pathlib.Path(system)).params["unet"]),
    )
    assert np.abs(paths["guidance_embedding/linear_2/kernel"]).max() > 1e-4
    moved = {path for path, x in teacher.items() if not np.array_equal(x, paths[path])}
    assert moved
    assert all(path.endswith("/kernel") and "attn" in path for path in moved)
    # In the whole system it is sampled as the run says, not as the base was.
    together = assemble([guided], base=system)
    assert together.distilled == export.distilled
    assert together.scheduler["prediction_type"] == "v_prediction"
    assert together.networks.keys() == {"unet", "vae", "vocoder", "t5"}


def test_each_student_is_exported(whole):
    first, last = whole / "rounds" / f"{ROUND:08}" / "export", whole / "export"
    assert [path.name for path in (whole / "rounds").iterdir()] == [f"{ROUND:08}"]
    for folder, distilled, step in ((first, FOUR, ROUND), (last, TWO, 2 * ROUND)):
        export = native.load(folder)
        assert export.distilled == distilled
        told = json.loads((folder / "model.json").read_text())["distilled"]
        assert told["steps"] == distilled.steps
        read = read_run(whole, step=step)
        assert read.system.distilled == distilled
        same(read.params["unet"], export.params["unet"])
    assert read_run(whole, step=ROUND - 5).system.distilled == FOUR
    assert read_run(whole, step=ROUND + 5).system.distilled == TWO
    config = json.loads((whole / "run.json").read_text())["config"]["stage"]
    assert (config["prediction"], config["teacher_guidance"]) == ("v", [0.0, 6.0])


def test_the_learning_rate_begins_anew(whole):
    rates = [lines(whole)[k]["learning_rate"] for k in range(1, 2 * ROUND + 1)]
    np.testing.assert_allclose(rates[:ROUND], 1e-3 * (1 - np.arange(ROUND) / ROUND), rtol=1e-5)
    assert rates[ROUND:] == rates[:ROUND]
    steps = [lines(whole)[k]["student_steps"] for k in range(1, 2 * ROUND + 1)]
    assert steps == [4] * ROUND + [2] * ROUND


def test_it_is_looked_at_as_it_is_to_be_used(whole):
    """Losses on held-out clips against each round's teacher; prompts in as many steps as the student has."""
    losses = {line["step"]: line["val/loss"] for line in read_log(whole) if "val/loss" in line}
    assert losses.keys() == {ROUND, 2 * ROUND}
    assert all(0 < x < 100 for x in losses.values())
    steps = {
        line["step"]: line["val/student_steps"] for line in read_log(whole) if "val/loss" in line
    }
    assert steps == {ROUND: 2, 2 * ROUND: 2}
    assert sorted(p.name for p in (whole / "previews").rglob("*.wav")) != []


def test_interrupted_inside_the_second_round(whole, prepared, flags, tmp_path):
    run = tmp_path / "run"
    arguments = command(f"{CONFIG}:progressive", run, *flags)
    code = interrupt(run, prepared, signal.SIGTERM, after=ROUND + 4, arguments=arguments)
    assert code == 143
    stopped = max(int(p.name) for p in (run / "checkpoints").iterdir() if p.name.isdigit())
    assert ROUND < stopped < 2 * ROUND
    done = run_toy(run, prepared, *flags, config=f"{CONFIG}:progressive")
    assert done.returncode == 0, done.stderr
    assert f"goes on after step {stopped} of" in done.stderr
    assert_same(run, whole)
    one, other = lines(run), lines(whole)
    assert [one[k]["loss"] for k in range(1, 2 * ROUND + 1)] == [
        other[k]["loss"] for k in range(1, 2 * ROUND + 1)
    ]


def test_killed_between_two_rounds(whole, prepared, flags, tmp_path):
    """After the first round's last checkpoint and before its export."""
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    for name in ("rounds", "export"):
        shutil.rmtree(run / name)
    for path in [*(run / "checkpoints").iterdir(), *(run / "checksums").iterdir()]:
        if path.stem.isdigit() and int(path.stem) > ROUND:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = run_toy(run, prepared, *flags, config=f"{CONFIG}:progressive")
    assert done.returncode == 0, done.stderr
    assert f"goes on after step {ROUND} of" in done.stderr
    assert_same(run, whole)
    for name in (f"rounds/{ROUND:08}/export", "export"):
        one, other = native.load(run / name), native.load(whole / name)
        assert one.distilled == other.distilled
        same(one.params["unet"], other.params["unet"])


@pytest.mark.parametrize(
    "change", ["--config.steps=80", "--config.stage.students=(2, 1)"], ids=["steps", "students"]
)
def test_a_chain_does_not_go_on_with_other_rounds(whole, prepared, flags, tmp_path, change):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(whole / "run.json", run)
    done = run_toy(run, prepared, *flags, change, config=f"{CONFIG}:progressive")
    assert done.returncode == 2
    (sentence,) = done.stderr.strip().splitlines()
    assert "holds a run of 40 steps in 2 rounds" in sentence
    assert "choose another folder" in sentence


def test_a_student_of_a_chain_goes_on(whole, system, prepared, tmp_path):
    """From two steps to one: what the first chain has come to is the second one's teacher."""
    run = tmp_path / "run"
    flags = (f"--config.checkpoint={system}", f"--config.weights.unet={whole}")
    more = ("--config.stage.students=(1,)", "--config.stage.teacher_steps=0", "--config.steps=2")
    done = run_toy(run, prepared, *flags, *more, config=f"{CONFIG}:progressive")
    assert done.returncode == 0, done.stderr
    assert native.load(run / "export").distilled.timesteps == (999.0,)
    wrong = (*more[:1], "--config.stage.teacher_steps=8")
    done = run_toy(tmp_path / "wrong", prepared, *flags, *wrong, config=f"{CONFIG}:progressive")
    assert done.returncode == 2
    (sentence,) = done.stderr.strip().splitlines()
    assert "the teacher was distilled to 2 steps" in sentence


def test_a_consistency_student_of_two_checkpoints(guided, system, prepared, tmp_path):
    """It starts from the guided run, and its teacher is the system's own, of another prediction, with two branches."""
    run = tmp_path / "run"
    flags = (f"--config.checkpoint={system}", f"--config.weights.unet={guided}")
    teacher = f"--config.weights.teacher={system}"
    done = run_toy(
        run,
        prepared,
        *flags,
        teacher,
        "--config.every.validation=8",
        config=f"{CONFIG}:consistency",
    )
    assert done.returncode == 0, done.stderr
    config = json.loads((run / "run.json").read_text())["config"]["stage"]
    assert (config["prediction"], config["teacher_prediction"]) == ("v", "eps")
    export = native.load(run / "export")
    assert (export.distilled.method, len(export.distilled.timesteps)) == ("consistency", 18)
    losses = [line["val/loss"] for line in read_log(run) if "val/loss" in line]
    assert len(losses) == 1
    assert 0 < losses[0] < 100
