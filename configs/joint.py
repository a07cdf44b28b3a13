r"""Joint fine-tuning with the probability switcher: the UNet is given true LOA with probability 0.25, else GPT-2's own.

python train.py --config=configs/joint.py --workdir=runs/joint --config.weights.unet=runs/base \
    --config.weights.gpt2=runs/translator \
    --config.weights.translator=runs/translator --config.weights.audiomae=audiomae_16k_128bins.ckpt
python train.py --config=configs/joint.py:large --workdir=runs/joint_large --config.weights.unet=runs/large ...

Section III-E of arXiv 2308.05734: gradients of the diffusion loss reach GPT-2 through its roll-out; 1e-4. Without
weights.* it goes on from the published system. How long the authors fine-tuned is not known; 100,000 batches here.
Cost: 1.0 TFLOP a clip; 13 EFLOP in all: 9 hours of an H200 at 40 % of its peak.
Expected (AudioCaps test, the paper): FAD 1.67 against 2.24 without this stage.
"""

from configs.base import PROMPTS
from configs.published import HUB, data, networks, run, weights
from ldm_jax.train.config import Prompts, architectures
from ldm_jax.train.optimizer import Optimizer
from ldm_jax.train.stages.joint import JointStage


def get_config(arg="base"):
    made = networks(arg)
    return run(
        f"joint_{arg}",
        JointStage(clap_audio=0.31),
        networks=architectures(unet=made["unet"], audiomae=made["audiomae"]),
        checkpoint=HUB if arg == "base" else f"{HUB}-{arg}",
        weights=weights(unet="", gpt2="", translator="", audiomae=""),
        steps=100_000,
        batch=128,
        data=data("audiocaps"),
        optimizer=Optimizer(learning_rate=1e-4, warmup_steps=5000, decayed="all"),
        prompts=Prompts(texts=PROMPTS),
    )
