"""A run of the toy stage on real clips, for `train.py`; the dataset's folder is in TOY_DATA."""

import os

from ml_collections import ConfigDict

from ldm_jax.train.config import Data, Intervals, Training
from ldm_jax.train.optimizer import Optimizer
from tests.train.toy import Fit, Line


def get_config(arg=""):
    rivals = arg == "rivals"
    networks = {"line": Line(), "rival": Line()} if rivals else {"line": Line()}
    return Training(
        name="toy",
        stage=Fit(rivals=rivals),
        networks=ConfigDict(networks),
        steps=40,
        batch=8,
        optimizer=Optimizer(learning_rate=1e-2, warmup_steps=5, schedule="cosine"),
        data=Data(prepared=(os.environ["TOY_DATA"],), seconds=0.64),
        every=Intervals(log=1, checkpoint=6, keep=3),
    )
