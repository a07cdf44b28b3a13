"""Runs of the distillation stages on real clips, for `train.py`; the dataset's folder is in TOY_DATA.

`--config.checkpoint` names a system that `write_system` wrote, `--config.weights.unet` another teacher.
"""

import dataclasses
import os
import pathlib

from ml_collections import ConfigDict

from ldm_jax.convert import native, random_checkpoint
from ldm_jax.convert.load import load
from ldm_jax.models.unet import UNet
from ldm_jax.train.config import Data, Intervals, Training
from ldm_jax.train.lora import LoRA
from ldm_jax.train.optimizer import Optimizer
from ldm_jax.train.stages.consistency import ConsistencyStage
from ldm_jax.train.stages.guided import GuidedStage
from ldm_jax.train.stages.progressive import ProgressiveStage

ROUND = 20  # steps of a round
_FROM_SOUND = {"contexts": ("text",), "guidance_scale": 3.0}
STAGES = {
    "guided": GuidedStage(prediction="v", **_FROM_SOUND),
    "progressive": ProgressiveStage(students=(4, 2), teacher_steps=8, **_FROM_SOUND),
    "consistency": ConsistencyStage(solver="ddim", **_FROM_SOUND),
}


def write_system(folder: pathlib.Path) -> str:
    """The tiny random system, its UNet even smaller: text alone, and one transformer."""
    random_checkpoint.write("tiny", folder / "tiny")
    tiny = load(folder / "tiny")
    unet = UNet(
        block_out_channels=(8,),
        attention_levels=(False,),
        layers_per_block=1,
        cross_attention_dims=(tiny.networks["t5"].d_model,),
        heads=2,
        head_dim=None,
        norm_groups=4,
    )
    params = {"unet": random_checkpoint.random_params(unet, name="unet", seed=0)}
    params |= {name: tiny.params[name] for name in ("vae", "vocoder", "t5")}
    system = dataclasses.replace(
        tiny,
        networks={**{name: tiny.networks[name] for name in params if name != "unet"}, "unet": unet},
        params=params,
        tokenizers={"t5": tiny.tokenizers["t5"]},
        preset="official",
    )
    native.save(system, folder / "system")
    return str(folder / "system")


def get_config(arg):
    return Training(
        name=f"toy_{arg}",
        stage=STAGES[arg],
        weights=ConfigDict({"unet": "", **({} if arg == "progressive" else {"teacher": ""})}),
        steps=2 * ROUND if arg == "progressive" else 8,
        batch=4,
        ema=0.9,
        optimizer=Optimizer(learning_rate=1e-3, schedule="linear"),
        lora=LoRA(rank=2 if arg == "guided" else 0),
        trainable=("guidance_embedding",) if arg == "guided" else (),
        data=Data(prepared=(os.environ["TOY_DATA"],), seconds=0.64, t5_length=16),
        every=Intervals(log=1, checkpoint=5, keep=8),
    )
