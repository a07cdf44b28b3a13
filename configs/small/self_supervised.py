"""Small UNet, self-supervised: latents from LOA alone, pooled by a factor drawn for each batch. No captions are read.

python train.py --config=configs/small/self_supervised.py --workdir=runs/small/self_supervised
"""

from configs.small.system import DIFFUSION, NETWORKS, run, weights
from ldm_jax.train.config import architectures
from ldm_jax.train.stages.latent_diffusion import LatentDiffusionStage


def get_config(arg=""):
    return run(
        "small/self_supervised",
        LatentDiffusionStage(
            time_pools=(1, 2, 4, 8), captions=False, scale_by_std=True, **DIFFUSION
        ),
        folder=arg,
        networks=architectures(unet=NETWORKS["unet"]),
        weights=weights("vae", "audiomae", "t5"),
    )
