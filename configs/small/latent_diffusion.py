"""Small UNet with true LOA and captions, from where self-supervision left it.

python train.py --config=configs/small/latent_diffusion.py --workdir=runs/small/latent_diffusion
"""

from configs.small.system import NETWORKS, run, weights
from ldm_jax.train.config import architectures
from ldm_jax.train.stages.latent_diffusion import LatentDiffusionStage


def get_config(arg=""):
    return run(
        "small/latent_diffusion",
        LatentDiffusionStage(scale_by_std=True),
        networks=architectures(unet=NETWORKS["unet"]),
        weights=weights("vae", "audiomae", "t5", unet="runs/small/self_supervised"),
    )
