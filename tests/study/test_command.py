"""The command's refusals, in processes of their own."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "give --config=configs/study_weighting.py and --workdir=FOLDER"),
        (("--config=configs/small/vae.py",), "the config is no study but a run of train.py"),
        (
            ("--config=configs/study_weighting.py:toy", "--config.seeds=1"),
            "seeds is 1: an interval takes at least 2",
        ),
        (
            ("--config=configs/study_weighting.py:toy", "--config.stepz=1"),
            "the config has no field config.stepz",
        ),
    ],
)
def test_refusals(flags, message, tmp_path):
    where = [f"--workdir={tmp_path / 'study'}"] if flags else []
    done = subprocess.run(
        [sys.executable, "-m", "ldm_jax.study", *flags, *where],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("ldm_jax.study:")]
    assert message in line
    assert not (tmp_path / "study").exists()
