"""Small translator: GPT-2 goes on from a caption to LOA, one token ahead.

python train.py --config=configs/small/translator.py --workdir=runs/small/translator
"""

from configs.small.system import NETWORKS, from_encodings, run, weights
from ldm_jax.train.config import architectures
from ldm_jax.train.stages.translator import TranslatorStage


def get_config(arg=""):
    return run(
        "small/translator",
        TranslatorStage(**from_encodings(arg)),
        folder=arg,
        networks=architectures(gpt2=NETWORKS["gpt2"], translator=NETWORKS["translator"]),
        weights=weights("audiomae", "clap", "t5") if arg else weights(),
    )
