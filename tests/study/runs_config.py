"""A study of runs on real clips; the dataset's folder is in TOY_DATA, the system's in TOY_SYSTEM."""

import dataclasses
import os

from ldm_jax.study.settings import RunStudy
from tests.train import distillation_config


def run_of(method, **changes):
    made = distillation_config.get_config(method)
    stage = dataclasses.replace(made.stage, stratified=True)
    return dataclasses.replace(made, stage=stage, checkpoint=os.environ["TOY_SYSTEM"], **changes)


def get_config(arg=""):
    return RunStudy(
        weightings=("bsa", "inverse"),
        seeds=2,
        methods=("progressive",),
        progressive=run_of("progressive"),
        consistency=run_of("consistency"),
        system=os.environ["TOY_SYSTEM"],
        teacher=os.environ["TOY_SYSTEM"],
        teacher_steps=(8,),
        prepared=(os.environ["TOY_DATA"],),
        split="validation",
        clips=2,
        seconds=0.64,
        batch_size=2,
        preset="own_encoders",
        metrics=("mrstft", "mel"),
        primary=("mrstft",),
        keep_clips=True,
    )
