"""Small UNet and translator together: the UNet gets true LOA with probability 0.25, else GPT-2's own.

python train.py --config=configs/small/joint.py --workdir=runs/small/joint
python -m ldm_jax.train.export runs/small/joint --out checkpoints/small
python sample.py "a dog barks" --checkpoint checkpoints/small
"""

from configs.small.system import DIFFUSION, from_encodings, optimizer, run, weights
from ldm_jax.train.config import Prompts
from ldm_jax.train.stages.joint import JointStage


def get_config(arg=""):
    return run(
        "small/joint",
        JointStage(**DIFFUSION, **from_encodings(arg)),
        folder=arg,
        weights=weights(
            *("unet", "gpt2", "translator", "vocoder", "audiomae", "clap", "t5"),
            vae="runs/small/latent_diffusion",  # with the scale of the latents that its UNet knows
        ),
        optimizer=optimizer(learning_rate=2e-4),
        prompts=Prompts(texts=("A dog barks.", "A slow piano melody.")),
    )
