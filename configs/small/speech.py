"""Small text to speech: phonemes to 256 LOA tokens to sound. The clips need transcripts.

python train.py --config=configs/small/speech.py --workdir=runs/small/speech
"""

from configs.small.system import DIFFUSION, data, run, weights
from ldm_jax.convert.random_checkpoint import SIZES
from ldm_jax.train.config import architectures
from ldm_jax.train.stages.speech import SpeechStage


def get_config(arg=""):
    networks = SIZES["small-speech"]()
    names = ("unet", "gpt2", "translator", "phoneme_encoder")
    return run(
        "small/speech",
        SpeechStage(scale_by_std=True, **DIFFUSION),
        networks=architectures(**{name: networks[name] for name in names}),
        weights=weights("vae", "audiomae", "clap"),
        data=data(arg or "data/speech"),
    )
