"""A small HiFi-GAN: log-mels of 64 bands to waves at 16 kHz, against the published five periods.

python train.py --config=configs/small/vocoder.py --workdir=runs/small/vocoder

Not what the small system ends in (`vocos.py`): two cores do not take it far enough. At first with spectral losses
alone, which costs a fraction of a step with discriminators; these join at a quarter of the run. No scales: their
grouped convolutions have gradients that take most of a step on a CPU.
"""

from configs.small.system import data, optimizer, run
from ldm_jax.convert.random_checkpoint import small
from ldm_jax.models.wave_discriminators import WaveDiscriminators
from ldm_jax.train.config import architectures
from ldm_jax.train.stages.vocoder import VocoderStage

DISCRIMINATORS = WaveDiscriminators(scales=0, period_widths=(16, 32, 64, 128, 128))


def get_config(arg=""):
    return run(
        "small/vocoder",
        VocoderStage(segment_samples=4096, stft_weight=5.0, disc_start=5_000),
        networks=architectures(
            vocoder=small()["vocoder"].clone(upsample_initial_channel=192),
            discriminator=DISCRIMINATORS,
        ),
        data=data(arg, seconds=1.28),
        optimizer=optimizer(b1=0.8, b2=0.99),
    )
