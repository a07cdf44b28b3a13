"""AudioLDM 2 for music: the base model on music alone; else as `base.py`.

python train.py --config=configs/music.py --workdir=runs/music --config.weights.audiomae=audiomae_16k_128bins.ckpt

The released weights saw the Million Song Dataset's 510,000 previews; FMA, MusicCaps and Song Describer are what can
be had.
Expected after joint fine-tuning (MusicCaps, the paper): FAD 4.47, KL 1.32, CLAP 0.294 (trained on MSD).
"""

from configs import base
from configs.published import data
from ldm_jax.train.config import Prompts


def get_config(arg=""):
    config = base.get_config()
    config.name = "music"
    config.data = data("fma", "musiccaps", "song_describer")
    config.prompts = Prompts(
        texts=("A slow piano melody", "Fast drum and bass", "A string quartet")
    )
    return config
