"""Small UNet with true LOA and captions, on latents of a variance of 1.

python train.py --config=configs/small/latent_diffusion.py --workdir=runs/small/latent_diffusion
"""

from configs.small.system import DIFFUSION, NETWORKS, from_encodings, run, weights
from ldm_jax.train.config import architectures
from ldm_jax.train.stages.latent_diffusion import LatentDiffusionStage


def get_config(arg=""):
    return run(
        "small/latent_diffusion",
        LatentDiffusionStage(scale_by_std=True, **DIFFUSION, **from_encodings(arg)),
        folder=arg,
        networks=architectures(unet=NETWORKS["unet"]),
        weights=weights("vae", *(("audiomae", "t5") if arg else ()), unet=""),
    )
