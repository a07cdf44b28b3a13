"""Small HiFi-GAN: log-mels of 64 bands to waves at 16 kHz, against two periods and one scale.

python train.py --config=configs/small/vocoder.py --workdir=runs/small/vocoder
"""

from configs.small.system import NETWORKS, data, optimizer, run
from ldm_jax.models.wave_discriminators import WaveDiscriminators
from ldm_jax.train.config import architectures
from ldm_jax.train.stages.vocoder import VocoderStage

DISCRIMINATORS = WaveDiscriminators(
    periods=(2, 5),
    scales=1,
    period_widths=(8, 16, 32, 64, 64),
    scale_widths=(16, 16, 32, 32, 64, 64, 64),
)


def get_config(arg=""):
    return run(
        "small/vocoder",
        VocoderStage(segment_samples=4096),
        networks=architectures(vocoder=NETWORKS["vocoder"], discriminator=DISCRIMINATORS),
        data=data(arg, seconds=1.28),
        optimizer=optimizer(b1=0.8, b2=0.99),
    )
