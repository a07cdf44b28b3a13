"""AudioLDM 2 base (346 M parameters in the UNet's cross-attention and convolutions): true LOA and captions.

python train.py --config=configs/base.py --workdir=runs/base --config.weights.audiomae=audiomae_16k_128bins.ckpt
python train.py --config=configs/base.py --workdir=runs/base --config.weights.unet=runs/self_supervised

The UNet of `cvssp/audioldm2` from scratch, or from `self_supervised.py`; `joint.py` comes after it. 128 clips a
batch, 1e-4, 5000 steps of warm-up and 1,500,000 batches at most, as the released configuration says.
Cost: 968 GFLOP a clip from sound, 506 from latents (--config.data.encoded=True --config.stage.encoded=True); all of
it from sound 186 EFLOP: 130 hours of an H200, 82 of a v5e-8, at 40 % of the peak.
Expected after joint fine-tuning (AudioCaps test, the paper): FAD 1.67, KL 1.01, CLAP 0.249 trained on AudioCaps; FAD
1.78, KL 1.60, CLAP 0.191 trained on everything.
"""

from configs.published import HUB, data, networks, run, weights
from ldm_jax.train.config import Prompts, architectures
from ldm_jax.train.optimizer import Optimizer
from ldm_jax.train.stages.latent_diffusion import LatentDiffusionStage

PROMPTS = ("A dog barks in the park", "Slow piano music in an empty hall", "Rain on a tin roof")


def get_config(arg="base"):
    made = networks(arg)
    return run(
        arg,
        LatentDiffusionStage(),
        networks=architectures(unet=made["unet"], audiomae=made["audiomae"]),
        checkpoint=HUB,
        weights=weights(unet="scratch", audiomae=""),
        steps=1_500_000,
        batch=128,
        data=data("audiocaps", "audioset", "wavcaps", "vggsound"),
        optimizer=Optimizer(learning_rate=1e-4, warmup_steps=5000, decayed="all"),
        prompts=Prompts(texts=PROMPTS),
    )
