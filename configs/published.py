"""What the published recipes have in common: networks, data, where one run finds the next one's weights.

A published configuration of AudioLDM 2's training does not exist: the released one is for inference and carries some
training keys, the training repository has those of AudioLDM. What stands here follows, in this order, the released
configuration, the training code, the paper (arXiv 2308.05734); each header says what is whose. No run at these sizes
has been made with this library: costs are counted operations at 40 % of the peak, and results are the papers'.
"""

from ml_collections import ConfigDict

from ldm_jax.convert import vae, vocoder
from ldm_jax.convert.random_checkpoint import SIZES
from ldm_jax.models.audiomae import AudioMAE
from ldm_jax.train.config import Data, Intervals, Mesh, Training

HUB = "cvssp/audioldm2"  # text encoder, CLAP and tokenizers, unless weights.* name others
SCALE = 0.4110932946205139  # of the published VAE's latents


def networks(system="base"):
    """Architectures by name: "base", "large" or "speech", heads of width 32 as the weights were trained."""
    made = SIZES[system]()
    made["unet"] = made["unet"].clone(heads=None, head_dim=32, remat="full")
    made["audiomae"] = AudioMAE()
    return made


def vae_of(sample_rate):
    """The published VAE of a rate."""
    made = vae.from_official(vae.OFFICIAL_CONFIGS[sample_rate], scaling_factor=SCALE)
    return made.clone(remat="full")


def vocoder_of(sample_rate):
    """The published vocoder of a rate; that of 48 kHz as the training code has it."""
    return vocoder.from_official(
        vocoder.OFFICIAL_CONFIGS[sample_rate], exact_length=sample_rate == 48_000
    )


def data(*names, **changes):
    """Prepared datasets under data/."""
    return Data(prepared=tuple(f"data/{name}" for name in names), workers=8, **changes)


def run(name, stage, **changes):
    """A run in bfloat16, parameters divided within a host, looked at every 5000 steps."""
    values = {
        "dtype": "bfloat16",
        "mesh": Mesh(data=-1, fsdp=8),
        "every": Intervals(
            log=100, checkpoint=2500, keep=3, keep_every=50_000, validation=5000, preview=10_000
        ),
    }
    return Training(name=name, stage=stage, **(values | changes))


def weights(**sources):
    """Sources of single networks, which flags can replace: --config.weights.vae=runs/vae_16k."""
    return ConfigDict(sources)
