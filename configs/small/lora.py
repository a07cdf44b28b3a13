"""LoRA on the small model that comes with the package, with clips of one's own: rank 8 on the UNet's attention.

python -m ldm_jax.data.prepare my_sounds --out data --name mine
python train.py --config=configs/small/lora.py:data/mine --workdir=runs/mine
python -m ldm_jax.train.export runs/mine --checkpoint small --out checkpoints/mine
python sample.py "..." --checkpoint checkpoints/mine --sampler dpmsolver++ --steps 25

All parameters instead: --config.lora.rank=0, and a tenth of the learning rate.
"""

from configs.small.system import DIFFUSION, data, optimizer, run
from ldm_jax.shipped import DEFAULT
from ldm_jax.train.lora import LoRA
from ldm_jax.train.stages.latent_diffusion import LatentDiffusionStage


def get_config(arg="data/mine"):
    return run(
        "small/lora",
        LatentDiffusionStage(**DIFFUSION),
        checkpoint=DEFAULT,
        data=data(arg, tokenizers=DEFAULT),
        steps=300,
        ema=0.99,
        lora=LoRA(rank=8),
        optimizer=optimizer(learning_rate=1e-3, warmup_steps=20, weight_decay=0.0),
    )
