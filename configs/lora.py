r"""Fine-tuning on a folder of one's own with LoRA: rank 16 on the UNet's attention, a few megabytes to keep.

python -m ldm_jax.data.prepare my_sounds --out data --name mine
python train.py --config=configs/lora.py --workdir=runs/mine --config.data.prepared="('data/mine',)" \
    --config.weights.audiomae=audiomae_16k_128bins.ckpt
python -m ldm_jax.train.export runs/mine --checkpoint cvssp/audioldm2 --out checkpoints/mine
python sample.py "..." --checkpoint checkpoints/mine

All parameters instead: --config.lora.rank=0. Chosen ones: --config.lora.rank=0 --config.trainable="('attn2/',)".
"""

from configs.published import HUB, data, networks, run, weights
from ldm_jax.train.config import Mesh, architectures
from ldm_jax.train.lora import LoRA
from ldm_jax.train.optimizer import Optimizer
from ldm_jax.train.stages.latent_diffusion import LatentDiffusionStage


def get_config(arg=""):
    return run(
        "lora",
        LatentDiffusionStage(),
        networks=architectures(audiomae=networks()["audiomae"]),
        checkpoint=HUB,
        weights=weights(unet="", audiomae=""),
        steps=2000,
        batch=8,
        ema=0.99,
        mesh=Mesh(),
        data=data("mine"),
        lora=LoRA(rank=16),
        optimizer=Optimizer(learning_rate=1e-4, warmup_steps=100, weight_decay=0.0),
    )
