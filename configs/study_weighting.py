"""What the weighting of the loss decides: the same students under every weighting, and how good they are in few steps.

python -m ldm_jax.study --config=configs/study_weighting.py:toy --workdir=runs/study
python -m ldm_jax.study --config=configs/study_weighting.py:small --workdir=runs/small/study
python -m ldm_jax.study --config=configs/study_weighting.py --workdir=runs/study_published

`:toy` is 15 weightings, five seeds, on points whose perfect denoiser is known: 6 minutes of one CPU core. `:small` is
five weightings, two seeds, on the small model: two and a half hours of one core. The numbers of both are in
docs/study.md. The last is runs of configs/, 200 -> 100 -> 50 -> 25 -> 5 -> 1 and in consistency, for the weightings
that the paper on BSA (arXiv 2312.15628) can be held against: 36 runs of 250,000 and 90,000 steps, which were not run
here. Clips are drawn for the captions of a held-out split.

`:small` begins as the guided student of the model that is in the package, which two commands make that stand in
docs/study.md; 25 of its steps are as good as 200, so that the chain begins there. With
`--config.methods="('progressive',)"` and `"('consistency',)"` two processes share the work, in one folder once the
first has measured the teacher.
"""

import dataclasses

from configs import distill_consistency, distill_progressive
from configs.published import HUB
from configs.small import distill_consistency as small_consistency
from configs.small import distill_progressive as small_progressive
from configs.small.system import SECONDS, SETS
from ldm_jax.study.settings import RunStudy, ToyStudy
from ldm_jax.train.config import Intervals

WEIGHTINGS = ("uniform", "truncated", "snr_plus_one", "min_snr", "debiased", "bsa")
STUDENTS = (100, 50, 25, 5, 1)


def every_student(run):
    """The run with a round of its own length for each of `STUDENTS`."""
    rounds = len(run.stage.students)
    stage = dataclasses.replace(run.stage, students=STUDENTS)
    return dataclasses.replace(run, stage=stage, steps=run.steps // rounds * len(STUDENTS))


def small(run, **changes):
    """The run at a length that two cores have time for, from the system that is in the package."""
    made = dataclasses.replace(
        run,
        stage=dataclasses.replace(run.stage, **changes),
        steps=120,
        batch=4,
        optimizer=dataclasses.replace(run.optimizer, learning_rate=2e-4, warmup_steps=10),
        every=Intervals(log=5, checkpoint=1000, validation=1000, preview=0),
        data=dataclasses.replace(run.data, tokenizers="small"),
    )
    for name in ("vae", "clap", "t5", "gpt2", "translator"):
        made.weights[name] = "small"
    made.weights.unet = "runs/small/distill_guided"
    return made


def get_config(arg=""):
    if arg == "toy":
        return ToyStudy()
    if arg == "small":
        return RunStudy(
            weightings=("bsa", "uniform", "min_snr", "snr_plus_one", "debiased"),
            seeds=2,
            progressive=small(small_progressive.get_config(), students=(5, 1), teacher_steps=25),
            consistency=small(small_consistency.get_config(), points=10),
            system="small",
            teacher="runs/small/guided",
            teacher_steps=(50, 25, 5, 1),
            prepared=tuple(f"data/{name}" for name in SETS),
            split="test",
            clips=24,
            seconds=SECONDS,
            padding="repeat",
            batch_size=4,
            keep_clips=True,
            preset="musicnn",
            primary=("frechet_distance.musicnn",),
        )
    return RunStudy(
        weightings=WEIGHTINGS,
        seeds=3,
        progressive=every_student(distill_progressive.get_config()),
        consistency=distill_consistency.get_config(),
        system=HUB,
        prepared=("data/audiocaps",),
    )
