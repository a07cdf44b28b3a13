r"""Guided distillation of AudioLDM 2: one call in place of guidance's two, and v in place of eps.

python train.py --config=configs/distill_guided.py --workdir=runs/distill_guided
python train.py --config=configs/distill_guided.py --workdir=runs/distill_guided --config.weights.unet=runs/joint

The student takes the guidance scale as an input, drawn from 0 to 6; it is what `distill_progressive.py` and
`distill_consistency.py` go on from. It predicts v, since x0 of an eps model is (z - eps) / 0.012 where sampling starts.
64 clips a batch, 1e-4, warm-up of 900 and no weight decay are ConsistencyTTA's (`train.sh`, 40 to 50 epochs).
Cost: see docs/distillation.md; the teacher's two calls and the student's one, forwards and back.
No run of it has been made here at this size.
"""

from configs.base import PROMPTS
from configs.published import HUB, data, networks, run, weights
from ldm_jax.train.config import Prompts, architectures
from ldm_jax.train.optimizer import Optimizer
from ldm_jax.train.stages.guided import GuidedStage


def get_config(arg="base"):
    return run(
        f"distill_guided_{arg}",
        GuidedStage(prediction="v", guidance=(0.0, 6.0), weighting="min_snr"),
        networks=architectures(unet=networks(arg)["unet"]),
        checkpoint=HUB if arg == "base" else f"{HUB}-{arg}",
        weights=weights(unet="", teacher=""),
        steps=35_000,
        batch=64,
        ema=0.999,
        data=data("audiocaps", mix=0.5),
        optimizer=Optimizer(learning_rate=1e-4, warmup_steps=900, weight_decay=0.0),
        prompts=Prompts(texts=PROMPTS),
    )
