"""HiFi-GAN for log-mels at 16 kHz and 64 bands.

python train.py --config=configs/vocoder_16k.py --workdir=runs/vocoder_16k

HiFi-GAN V1's recipe (arXiv 2010.05646 and its code): stretches of 8192 samples, 16 a batch, AdamW at 2e-4 with betas
0.8 and 0.99, times 0.999 an epoch, 2.5 million batches. An epoch of AudioSet's two million clips is 125,000 of those.
Expected: no figures are published for AudioLDM 2's vocoder alone.
"""

from configs.published import data, run, vocoder_of, weights
from ldm_jax.models.wave_discriminators import WaveDiscriminators
from ldm_jax.train.config import Mesh, architectures
from ldm_jax.train.optimizer import Optimizer
from ldm_jax.train.stages.vocoder import VocoderStage


def get_config(arg=""):
    return run(
        "vocoder_16k",
        VocoderStage(),
        networks=architectures(vocoder=vocoder_of(16_000), discriminator=WaveDiscriminators()),
        weights=weights(vocoder=""),
        steps=2_500_000,
        batch=16,
        dtype="float32",
        mesh=Mesh(),
        data=data("audioset", seconds=1.28),
        optimizer=Optimizer(
            learning_rate=2e-4,
            b1=0.8,
            b2=0.99,
            schedule="step",
            decay_rate=0.999,
            decay_steps=125_000,
            decayed="all",
        ),
    )
