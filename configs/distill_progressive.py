r"""Balanced SNR-aware progressive distillation: 200 steps to 100, 50 and 25; then 25 to 5 and 1.

python train.py --config=configs/distill_progressive.py --workdir=runs/distill_progressive
python train.py --config=configs/distill_progressive.py:few --workdir=runs/distill_few
python sample.py "a dog barks" --checkpoint checkpoints/fast

The first goes on from runs/distill_guided, the second from what the first has come to. Each student is a checkpoint
when its round ends: rounds/STEP/export and, the last, export. `python -m ldm_jax.train.export runs/distill_progressive
--checkpoint cvssp/audioldm2 --out checkpoints/fast` puts one into the whole system.
50,000 updates a round, a learning rate that falls to 0 in each, gradients of norm 1 at most and no moving average are
Salimans and Ho's (arXiv 2202.00512); the paper on the weighting (arXiv 2312.15628) publishes no settings.
`--config.stage.weighting=truncated` (min_snr, snr_plus_one, ...) is another weighting; `study_weighting.py` compares.
Cost: two calls of the teacher and one of the student, forwards and back, each update. Not run here at this size.
Expected (the abstract): 25 steps with little loss against 200.
"""

from configs.base import PROMPTS
from configs.published import HUB, data, networks, run, weights
from ldm_jax.train.config import Prompts, architectures
from ldm_jax.train.optimizer import Optimizer
from ldm_jax.train.stages.progressive import ProgressiveStage

CHAINS = {
    "": ((100, 50, 25), "runs/distill_guided"),
    "few": ((5, 1), "runs/distill_progressive"),
}


def get_config(arg=""):
    students, teacher = CHAINS[arg]
    return run(
        f"distill_{arg or 'progressive'}",
        ProgressiveStage(students=students, weighting="bsa:gamma=5,floor=1"),
        networks=architectures(unet=networks()["unet"]),
        checkpoint=HUB,
        weights=weights(unet=teacher),
        steps=50_000 * len(students),
        batch=128,
        ema=0.0,
        data=data("audiocaps"),
        optimizer=Optimizer(
            kind="adam", learning_rate=5e-5, schedule="linear", weight_decay=0.0, clip_norm=1.0
        ),
        prompts=Prompts(texts=PROMPTS),
    )
