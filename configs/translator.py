r"""Translator alone: GPT-2 learns to go on from CLAP's vector and FLAN-T5's states to 8 LOA tokens.

python train.py --config=configs/translator.py --workdir=runs/translator \
    --config.weights.audiomae=audiomae_16k_128bins.ckpt
python train.py --config=configs/translator.py --workdir=runs/translator --config.weights.gpt2=FOLDER     # \
    OpenAI's GPT-2

The training code's settings: AdamW at 2e-4 (PyTorch's defaults: decay 0.01 on everything), 1000 steps of warm-up,
times 0.8 every ten epochs. An epoch here: 46,000 clips of AudioCaps, 32 a batch. CLAP hears the clip with probability
0.31 in place of reading its caption. Expected: no figures are published for this stage.
"""

from configs.published import HUB, data, networks, run, weights
from ldm_jax.train.config import Mesh, architectures
from ldm_jax.train.optimizer import Optimizer
from ldm_jax.train.stages.translator import TranslatorStage

EPOCH = 46_000 // 32


def get_config(arg=""):
    made = networks()
    return run(
        "translator",
        TranslatorStage(clap_audio=0.31),
        networks=architectures(**{name: made[name] for name in ("gpt2", "translator", "audiomae")}),
        checkpoint=HUB,
        weights=weights(audiomae="", gpt2="scratch", translator="scratch"),
        steps=60 * EPOCH,
        batch=32,
        mesh=Mesh(),
        data=data("audiocaps"),
        optimizer=Optimizer(
            learning_rate=2e-4,
            warmup_steps=1000,
            schedule="step",
            decay_steps=10 * EPOCH,
            decay_rate=0.8,
            decayed="all",
        ),
    )
