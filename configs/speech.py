"""Text to speech: phonemes to 512 LOA tokens to sound, on LJSpeech or GigaSpeech.

python train.py --config=configs/speech.py --workdir=runs/speech --config.weights.audiomae=audiomae_16k_128bins.ckpt

The released speech configuration gives the UNet true LOA always; GPT-2 learns one token ahead beside it. Fine-tune on
LJSpeech from a run on GigaSpeech with --config.weights.unet=runs/speech and so on.
Expected (LJSpeech, MOS, the paper): 3.65 on LJSpeech alone, 4.00 pretrained on GigaSpeech; the recordings have 4.63.
"""

from configs.published import HUB, data, networks, run, weights
from ldm_jax.train.config import Prompts, architectures
from ldm_jax.train.optimizer import Optimizer
from ldm_jax.train.stages.speech import SpeechStage

TRAINED = ("unet", "gpt2", "translator", "phoneme_encoder")


def get_config(arg=""):
    made = networks("speech")
    return run(
        "speech",
        SpeechStage(),
        networks=architectures(**{name: made[name] for name in (*TRAINED, "audiomae")}),
        checkpoint=HUB,
        weights=weights(**dict.fromkeys(TRAINED, "scratch"), audiomae=""),
        steps=1_500_000,
        batch=128,
        data=data("gigaspeech"),
        optimizer=Optimizer(learning_rate=1e-4, warmup_steps=5000, decayed="all"),
        prompts=Prompts(texts=("A calm woman speaks",), transcripts=("Good morning, everyone.",)),
    )
