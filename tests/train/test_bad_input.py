"""What is wrong with a run is said in one sentence before anything is compiled."""

import pytest

from tests.train.running import run_toy

WRONG = {
    "field": (("--config.stage.nois=3",), "no field config.stage.nois"),
    "top field": (("--config.stepz=3",), "no field config.stepz"),
    "type": (("--config.steps=many",), "--config.steps=many"),
    "batch": (("--config.batch=6",), "a batch of 6"),
    "microbatches": (("--config.accumulation=3",), "8 cannot be divided into 3 microbatches"),
    "mesh": (("--config.mesh.fsdp=3",), "fsdp=3"),
    "dtype": (("--config.dtype=float8",), "float32 or bfloat16"),
    "data": (("--config.data.prepared=('/nowhere',)",), "no prepared dataset in /nowhere"),
    "no data": (("--config.data.prepared=()",), "data.prepared names no dataset"),
    "split": (("--config.data.split=dev",), "no split 'dev'"),
    "schedule": (("--config.optimizer.schedule=cosin",), "optimizer.schedule is 'cosin'"),
    "pattern": (("--config.trainable=('lines/',)",), "no parameter's path has 'lines/'"),
    "resume": (("--config.resume=/nowhere",), "/nowhere is not the folder of a run"),
    "ema": (("--config.ema=1",), "ema must be"),
    "argument": (("batch=3",), "'batch=3' is no flag"),
}


FIRST = (
    "field",
    "batch",
    "mesh",
    "data",
    "pattern",
)  # each is a process of its own: the rest are slow


@pytest.mark.parametrize(
    "name",
    [name if name in FIRST else pytest.param(name, marks=pytest.mark.slow) for name in WRONG],
)
def test_one_sentence(name, prepared, tmp_path):
    flags, told = WRONG[name]
    done = run_toy(tmp_path / "run", prepared, *flags, devices=4)
    assert done.returncode == 2, done.stderr
    (sentence,) = done.stderr.strip().splitlines()
    assert sentence.startswith("train.py: ")
    assert told in sentence
    assert not list((tmp_path / "run").glob("checkpoints/0*"))


def test_no_such_config(prepared, tmp_path):
    done = run_toy(tmp_path / "run", prepared, config="configs/none.py")
    assert done.returncode == 2
    assert "configs/none.py" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_with_another_run(prepared, tmp_path):
    run = tmp_path / "run"
    assert run_toy(run, prepared, "--config.steps=1").returncode == 0
    done = run_toy(run, prepared, config="tests/train/toy_config.py:rivals")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "choose another folder" in done.stderr
