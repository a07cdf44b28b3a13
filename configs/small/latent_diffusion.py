"""Small UNet with true LOA and captions, from where self-supervision left it: its weights, its scale of the latents.

python train.py --config=configs/small/latent_diffusion.py --workdir=runs/small/latent_diffusion
"""

from configs.small.system import NETWORKS, run, weights
from ldm_jax.train.config import architectures
from ldm_jax.train.stages.latent_diffusion import LatentDiffusionStage


def get_config(arg=""):
    return run(
        "small/latent_diffusion",
        LatentDiffusionStage(),
        folder=arg,
        networks=architectures(unet=NETWORKS["unet"]),
        weights=weights(
            "audiomae", "t5", **dict.fromkeys(("unet", "vae"), "runs/small/self_supervised")
        ),
    )
