"""VAE of log-mels at 48 kHz and 256 bands: 16 channels, 8 times shorter on both sides.

python train.py --config=configs/vae_48k.py --workdir=runs/vae_48k

As `vae_16k.py` but for the spectrogram (20 Hz to 24 kHz) and a fourth level. Steps are those of the 16 kHz recipe;
those of the released weights are not known.
"""

from configs import vae_16k
from configs.published import vae_of
from ldm_jax.models.patchgan import PatchGAN
from ldm_jax.train.config import architectures


def get_config(arg=""):
    config = vae_16k.get_config()
    config.name = "vae_48k"
    config.networks = architectures(vae=vae_of(48_000), discriminator=PatchGAN())
    config.data.sample_rate = 48_000
    return config
