"""A random system that compiles fast, and students of it: its weights, and perhaps a guidance scale as an input."""

import dataclasses
import pathlib

import numpy as np

from ldm_jax.convert import native
from ldm_jax.convert.checkpoint import Checkpoint
from ldm_jax.convert.load import load
from ldm_jax.convert.random_checkpoint import random_params
from ldm_jax.diffusion.distilled import Distilled
from ldm_jax.models.vocoder import HiFiGAN

PROGRESSIVE = Distilled(
    method="progressive",
    steps=3,  # does not divide the schedule, so the network is asked between timesteps
    timesteps=(999.0, 1000 * 2 / 3 - 1, 1000 / 3 - 1),
    guidance=(1.0, 6.0),
    guidance_scale=2.5,
)
CONSISTENCY = Distilled(
    method="consistency",
    steps=1,
    timesteps=tuple(np.linspace(0, 999, 18)[::-1].tolist()),
    guidance=(0.0, 6.0),
    guidance_scale=4.0,
    pure_noise=True,
)
GUIDED = Distilled(method="guided", guidance=(1.0, 6.0), guidance_scale=3.0)
PREDICTIONS = {"progressive": "v_prediction", "consistency": "sample", "guided": "epsilon"}


def teacher(folder: pathlib.Path) -> Checkpoint:
    """The tiny random checkpoint in `folder`, with fewer layers yet."""
    tiny = load(folder)
    given = tiny.networks
    networks = {
        **given,
        "unet": given["unet"].clone(block_out_channels=(32,), attention_levels=(True,)),
        "vocoder": HiFiGAN(64, 16, (16, 10), (32, 20), (3,), ((1,),)),
        "t5": given["t5"].clone(num_layers=1),
        "gpt2": given["gpt2"].clone(n_layer=1),
        "clap": given["clap"].clone(text=given["clap"].text.clone(num_layers=1)),
    }
    params = {name: random_params(x, name=name, seed=0) for name, x in networks.items()}
    return dataclasses.replace(tiny, networks=networks, params=params)


def student(folder: pathlib.Path, distilled: Distilled, *, silent: bool = False) -> Checkpoint:
    """A student of `teacher(folder)`, as `distilled` says.

    Args:
        folder: of the tiny random checkpoint.
        distilled: also says whether the UNet takes a guidance scale.
        silent: whether the last layer of the guidance's embedding is zero, as where training begins.
    """
    taught_by = teacher(folder)
    networks, params = dict(taught_by.networks), dict(taught_by.params)
    if distilled.guidance:
        networks["unet"] = networks["unet"].clone(guidance_features=6)
        unet = random_params(networks["unet"], name="unet", seed=0)
        unet["guidance_embedding"]["frequencies"] *= 10.0
        if silent:
            last = unet["guidance_embedding"]["linear_2"]
            unet["guidance_embedding"]["linear_2"] = {k: np.zeros_like(x) for k, x in last.items()}
        params["unet"] = {**params["unet"], "guidance_embedding": unet["guidance_embedding"]}
    return dataclasses.replace(
        taught_by,
        networks=networks,
        params=params,
        scheduler={**taught_by.scheduler, "prediction_type": PREDICTIONS[distilled.method]},
        distilled=distilled,
    )


def write(folder: pathlib.Path, distilled: Distilled, *, into: pathlib.Path) -> None:
    """`student` as a folder of ours."""
    native.save(student(folder, distilled), into)
