r"""Consistency distillation: one call in place of 400.

python train.py --config=configs/distill_consistency.py --workdir=runs/distill_consistency
python train.py --config=configs/distill_consistency.py:consistencytta --workdir=runs/distill_consistencytta
python train.py --config=configs/distill_clap.py --workdir=runs/distill_clap       # then, by ear

The student goes on from runs/distill_guided, the teacher is the published model with its two calls (Heun: four an
update); --config.weights.teacher=runs/distill_guided halves that. The second command has ConsistencyTTA's own choices:
the raw output is x0, x0 itself is the target next to t = 0, Min-SNR weights.
32 clips a batch (theirs: 30), 1e-5, weight decay 1e-4, 750 steps of warm-up, then a straight line to 0 over 60 epochs
of AudioCaps, averages of 0.95 for the targets and 0.999 for use are ConsistencyTTA's (`train.sh`).
Cost: see docs/distillation.md. Not run here at this size. Expected (its poster, 882 clips of AudioCaps, one call): FAD
2.58, FD 22.1, KL 1.35, against 1.91, 19.6 and 1.35 of its teacher in 400 calls.
"""

from configs.base import PROMPTS
from configs.published import HUB, data, networks, run, weights
from ldm_jax.train.config import Prompts, architectures
from ldm_jax.train.optimizer import Optimizer
from ldm_jax.train.stages.consistency import ConsistencyStage

CHOICES = {
    "": {},
    "consistencytta": {"prediction": "x0", "boundary": "data", "weighting": "min_snr"},
}


def get_config(arg=""):
    return run(
        arg or "distill_consistency",
        ConsistencyStage(**CHOICES[arg]),
        networks=architectures(unet=networks()["unet"]),
        checkpoint=HUB,
        weights=weights(unet="runs/distill_guided", teacher=HUB),
        steps=90_000,
        batch=32,
        ema=0.999,
        data=data("audiocaps", mix=0.5),
        optimizer=Optimizer(
            learning_rate=1e-5, warmup_steps=750, schedule="linear", weight_decay=1e-4
        ),
        prompts=Prompts(texts=PROMPTS),
    )
