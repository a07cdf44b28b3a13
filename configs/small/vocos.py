"""Small Vocos: log-mels of 64 bands to magnitudes at 16 kHz, for which 32 iterations of Griffin-Lim find phases.

python train.py --config=configs/small/vocos.py --workdir=runs/small/vocos

On two cores a regression of magnitudes is useful after half an hour, where the HiFi-GAN of `vocoder.py`, which has to
learn phases against discriminators, would take days.
"""

from configs.small.system import NETWORKS, data, optimizer, run, weights
from ldm_jax.train.config import architectures
from ldm_jax.train.stages.magnitudes import MagnitudeStage


def get_config(arg=""):
    return run(
        "small/vocos",
        MagnitudeStage(),
        networks=architectures(vocoder=NETWORKS["vocoder"]),
        weights=weights(vocoder=""),
        data=data(arg, seconds=1.28),
        optimizer=optimizer(),
    )
