"""What the small runs have in common: the data, the networks, where each run leaves its weights.

A whole AudioLDM 2 that two CPU cores can train: 16 kHz, clips of 5.12 s, LOA of 4 tokens for sound and music. Run in
this order (each header has its command); any of them can be interrupted and started again:

    python -m ldm_jax.data.prepare SOURCE --out data --name clips             # any folder with captions
    python -m ldm_jax.convert.random_checkpoint small checkpoints/random-small  # text encoder and tokenizers
    vae, vocoder, audiomae, clap  ->  translator, self_supervised  ->  latent_diffusion  ->  joint; speech
    joint  ->  distill_guided  ->  distill_progressive (:few goes on), distill_consistency  ->  distill_clap

The text encoder has random weights here: its states tell captions apart, and no more. Set weights.t5 to a better one.
"""

from ml_collections import ConfigDict

from ldm_jax.convert.random_checkpoint import small
from ldm_jax.models.audiomae import AudioMAE
from ldm_jax.train.config import Data, Intervals, Training
from ldm_jax.train.optimizer import Optimizer

SECONDS = 5.12
RANDOM = "checkpoints/random-small"
NETWORKS = small() | {
    "audiomae": AudioMAE(
        img_size=(512, 128),
        embed_dim=128,
        depth=6,
        heads=4,
        decoder="swin",
        decoder_dim=64,
        decoder_depth=4,
        decoder_heads=4,
    )
}


def data(**changes):
    """Clips prepared under data/clips."""
    return Data(
        **({"prepared": ("data/clips",), "seconds": SECONDS, "tokenizers": RANDOM} | changes)
    )


def optimizer(**changes):
    """AdamW that warms up quickly."""
    values = {"learning_rate": 1e-3, "warmup_steps": 50, "schedule": "cosine", "clip_norm": 1.0}
    return Optimizer(**(values | changes))


def run(name, stage, **changes):
    """A run of 20,000 steps, with a look at it now and then."""
    values = {
        "batch": 8,
        "steps": 20_000,
        "ema": 0.999,
        "data": data(),
        "optimizer": optimizer(),
        "every": Intervals(log=50, checkpoint=500, validation=500, preview=2000),
    }
    return Training(name=name, stage=stage, **(values | changes))


def weights(*names, **others):
    """Where runs of this folder leave what the next ones need."""
    runs = {
        "vae": "runs/small/vae",
        "vocoder": "runs/small/vocoder",
        "audiomae": "runs/small/audiomae",
        "clap": "runs/small/clap",
        "gpt2": "runs/small/translator",
        "translator": "runs/small/translator",
        "unet": "runs/small/latent_diffusion",
        "t5": RANDOM,
    }
    return ConfigDict({name: runs[name] for name in names} | others)


def distil(name, stage, *, unet, **changes):
    """A run of 10,000 steps that distils what `runs/small/joint` has come to."""
    joint = "runs/small/joint"
    made = weights("clap", "t5", gpt2=joint, translator=joint, vae=joint, unet=unet)
    return run(f"small/distill_{name}", stage, **({"weights": made, "steps": 10_000} | changes))
