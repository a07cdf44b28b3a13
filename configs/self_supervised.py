"""Latent diffusion pretrained on sound alone: all it is told is AudioMAE's LOA, pooled by a factor drawn a batch.

python train.py --config=configs/self_supervised.py --workdir=runs/self_supervised \
    --config.weights.audiomae=audiomae_16k_128bins.ckpt

Section III-D of arXiv 2308.05734. 1e-4 after 10,000 steps of warm-up (the paper), 128 clips a batch (8 GPUs with the
released configuration's 16), conditions dropped for one batch in ten, moving average 0.9999. How long the authors
pretrained is not known; 500,000 batches here.
Cost: 968 GFLOP a clip, 62 EFLOP in all: 43 hours of an H200, 27 of a v5e-8, at 40 % of the peak.
"""

from configs.published import HUB, data, networks, run, weights
from ldm_jax.train.config import architectures
from ldm_jax.train.optimizer import Optimizer
from ldm_jax.train.stages.latent_diffusion import LatentDiffusionStage


def get_config(arg="base"):
    made = networks(arg)
    return run(
        f"self_supervised_{arg}",
        LatentDiffusionStage(time_pools=(1, 2, 4, 8), captions=False),
        networks=architectures(unet=made["unet"], audiomae=made["audiomae"]),
        checkpoint=HUB,
        weights=weights(unet="scratch", audiomae=""),
        steps=500_000,
        batch=128,
        data=data("audioset", "wavcaps", "vggsound", "audiocaps"),
        optimizer=Optimizer(learning_rate=1e-4, warmup_steps=10_000, decayed="all"),
    )
