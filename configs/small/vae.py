"""Small VAE: log-mels of 64 bands to latents of 8 channels, 4 times shorter on both sides.

python train.py --config=configs/small/vae.py --workdir=runs/small/vae

Crops of 2.56 s, 8 a batch; the divergence weighs against their sum over cells as the published 1000 does against that
of 10.24 s. The discriminator joins at half time.
"""

from configs.small.system import NETWORKS, data, optimizer, run
from ldm_jax.models.patchgan import PatchGAN
from ldm_jax.train.config import architectures
from ldm_jax.train.stages.vae import VAEStage


def get_config(arg=""):
    return run(
        "small/vae",
        VAEStage(kl_weight=250.0, disc_start=10_000),
        networks=architectures(vae=NETWORKS["vae"], discriminator=PatchGAN(features=16)),
        data=data(arg, seconds=2.56),
        optimizer=optimizer(b1=0.5, b2=0.9, weight_decay=0.0),
    )
