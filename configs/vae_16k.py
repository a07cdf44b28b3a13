r"""VAE of log-mels at 16 kHz and 64 bands: 8 channels, 4 times shorter on both sides.

python train.py --config=configs/vae_16k.py --workdir=runs/vae_16k
python train.py --config=configs/vae_16k.py --workdir=runs/vae_16k --config.weights.lpips=vgg_lpips.pth \
    --config.stage.perceptual_weight=1

Data: AudioSet, AudioCaps, WavCaps, VGGSound, prepared under data/. Batch, rate and betas are the training code's (4
clips, 8e-6, 0.5 and 0.9), and so are 400,000 batches: its max_steps of 800,000 counts the steps of both optimisers.
Cost: 2.8 TFLOP a clip without the discriminator, 4.5 EFLOP in all: 3.2 hours of an H200 at 40 % of its peak; with a
batch of 4 and float32 more. Expected: no figures are published for the VAE alone.
LPIPS weights are a download of their own (see `ldm_jax.convert.lpips`); without them the perceptual term is left out,
published is 1.
"""

from configs.published import data, run, vae_of, weights
from ldm_jax.models.patchgan import PatchGAN
from ldm_jax.train.config import Mesh, architectures
from ldm_jax.train.optimizer import Optimizer
from ldm_jax.train.stages.vae import VAEStage


def get_config(arg=""):
    return run(
        "vae_16k",
        VAEStage(),
        networks=architectures(vae=vae_of(16_000), discriminator=PatchGAN()),
        weights=weights(lpips="", vae=""),
        steps=400_000,
        batch=4,
        dtype="float32",
        mesh=Mesh(),
        data=data("audioset", "audiocaps", "wavcaps", "vggsound"),
        optimizer=Optimizer(kind="adam", learning_rate=8e-6, b1=0.5, b2=0.9, weight_decay=0.0),
    )
