"""Small CLAP: captions and 5.12 s of sound as vectors of 128 numbers.

python train.py --config=configs/small/clap.py --workdir=runs/small/clap

More clips a batch are more wrong answers to tell from the right one: take as many as there is memory for.
"""

from configs.small.system import NETWORKS, optimizer, run
from ldm_jax.train.config import architectures
from ldm_jax.train.stages.clap import ClapStage


def get_config(arg=""):
    return run(
        "small/clap",
        ClapStage(),
        folder=arg,
        batch=16,
        networks=architectures(clap=NETWORKS["clap"]),
        optimizer=optimizer(learning_rate=5e-4, b2=0.98, weight_decay=0.1),
    )
