"""HiFi-GAN for log-mels at 48 kHz and 256 bands: 128 stretches of 15,360 samples, 1e-4; else as `vocoder_16k.py`.

python train.py --config=configs/vocoder_48k.py --workdir=runs/vocoder_48k
"""

from configs import vocoder_16k
from configs.published import vocoder_of
from ldm_jax.models.wave_discriminators import WaveDiscriminators
from ldm_jax.train.config import architectures
from ldm_jax.train.stages.vocoder import VocoderStage


def get_config(arg=""):
    config = vocoder_16k.get_config()
    config.name = "vocoder_48k"
    config.stage = VocoderStage(
        segment_samples=15_360, sample_rate=48_000, n_fft=2048, fmin=20.0, fmax=24_000.0
    )
    config.networks = architectures(vocoder=vocoder_of(48_000), discriminator=WaveDiscriminators())
    config.data.sample_rate = 48_000
    config.batch = 128
    config.optimizer.learning_rate = 1e-4
    config.optimizer.decay_steps = 15_600
    return config
