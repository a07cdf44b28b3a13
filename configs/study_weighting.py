"""What the weighting of the loss decides: the same students under every weighting, and how good they are in few steps.

python -m ldm_jax.study --config=configs/study_weighting.py:toy --workdir=runs/study
python -m ldm_jax.study --config=configs/study_weighting.py:small --workdir=runs/small/study
python -m ldm_jax.study --config=configs/study_weighting.py --workdir=runs/study_published

`:toy` is 15 weightings, five seeds, on points whose perfect denoiser is known: 6 minutes of one CPU core, and its
numbers are in docs/study.md. `:small` and the last are runs of configs/small and configs/, 200 -> 100 -> 50 -> 25 -> 5
-> 1 and in consistency, for the weightings that the paper on BSA (arXiv 2312.15628) can be held against; they begin as
runs/small/distill_guided and runs/distill_guided. Clips are drawn for the captions of a held-out split.
Cost of `:small`: 36 runs, of 25,000 and 10,000 steps. Of the last: 36 of 250,000 and 90,000. Neither was run here.
"""

import dataclasses

from configs import distill_consistency, distill_progressive
from configs.published import HUB
from configs.small import distill_consistency as small_consistency
from configs.small import distill_progressive as small_progressive
from configs.small.system import SECONDS, SETS
from ldm_jax.study.settings import RunStudy, ToyStudy

WEIGHTINGS = ("uniform", "truncated", "snr_plus_one", "min_snr", "debiased", "bsa")
STUDENTS = (100, 50, 25, 5, 1)


def every_student(run):
    """The run with a round of its own length for each of `STUDENTS`."""
    rounds = len(run.stage.students)
    stage = dataclasses.replace(run.stage, students=STUDENTS)
    return dataclasses.replace(run, stage=stage, steps=run.steps // rounds * len(STUDENTS))


def of_runs(progressive, consistency, **settings):
    return RunStudy(
        weightings=WEIGHTINGS,
        seeds=3,
        progressive=every_student(progressive),
        consistency=consistency,
        **settings,
    )


def get_config(arg=""):
    if arg == "toy":
        return ToyStudy()
    if arg == "small":
        return of_runs(
            small_progressive.get_config(),
            small_consistency.get_config(),
            system="checkpoints/small",
            prepared=tuple(f"data/{name}" for name in SETS),
            split="test",
            clips=40,
            seconds=SECONDS,
            padding="repeat",
            preset="musicnn",
            primary=("frechet_distance.musicnn",),
        )
    return of_runs(
        distill_progressive.get_config(),
        distill_consistency.get_config(),
        system=HUB,
        prepared=("data/audiocaps",),
    )
