"""The command's refusals, in processes of their own."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--config=configs/small/vae.py",), "the config is no study but a run of train.py"),
        (
            ("--config=configs/study_weighting.py:toy", "--config.stepz=1"),
            "the config has no field config.stepz",
        ),
    ],
)
def test_refusals(flags, message, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "ldm_jax.study", *flags, f"--workdir={tmp_path / 'study'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("ldm_jax.study:")]
    assert message in line
    assert not (tmp_path / "study").exists()
