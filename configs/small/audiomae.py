"""Small AudioMAE: 256 patches of 5.12 s, of which a fifth is seen.

python train.py --config=configs/small/audiomae.py --workdir=runs/small/audiomae
"""

from configs.small.system import NETWORKS, data, optimizer, run
from ldm_jax.train.config import architectures
from ldm_jax.train.stages.audiomae import AudioMAEStage


def get_config(arg=""):
    return run(
        "small/audiomae",
        AudioMAEStage(),
        batch=16,
        networks=architectures(audiomae=NETWORKS["audiomae"]),
        data=data(arg, roll=True, gain=True),
        optimizer=optimizer(b2=0.95, weight_decay=1e-4),
    )
