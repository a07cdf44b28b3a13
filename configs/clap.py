"""CLAP with HTSAT-base and RoBERTa, as its authors train it (arXiv 2211.06687).

python train.py --config=configs/clap.py --workdir=runs/clap --config.data.tokenizers=cvssp_audioldm2_folder

2304 clips a batch, 1e-4 with betas 0.9 and 0.99, warm-up of 3200 batches, cosine, 45 epochs of 2.6 million pairs.
Start RoBERTa from a published checkpoint with --config.weights.clap; from scratch it takes many more. Expected:
text-to-audio R@10 of 82.5 on AudioCaps (the paper, with keyword-to-caption data).
"""

from configs.published import data, networks, run, weights
from ldm_jax.train.config import Mesh, architectures
from ldm_jax.train.optimizer import Optimizer
from ldm_jax.train.stages.clap import ClapStage


def get_config(arg=""):
    return run(
        "clap",
        ClapStage(),
        networks=architectures(clap=networks()["clap"]),
        weights=weights(clap=""),
        steps=45 * 1128,
        batch=2304,
        mesh=Mesh(),
        data=data("audiocaps", "clotho", "wavcaps", "audioset", tokenizers="checkpoints/audioldm2"),
        optimizer=Optimizer(
            learning_rate=1e-4, b2=0.99, weight_decay=0.0, warmup_steps=3200, schedule="cosine"
        ),
    )
