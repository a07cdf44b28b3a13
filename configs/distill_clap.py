r"""A one-step student fine-tuned by ear: through the frozen decoder and vocoder, as CLAP hears it.

python train.py --config=configs/distill_clap.py --workdir=runs/distill_clap
python train.py --config=configs/distill_clap.py --workdir=runs/distill_clap --config.weights.clap=CLAP_FILE

It goes on from runs/distill_consistency. The CLAP is the system's own, which its conditions come from too; figures of
such a student should be of another CLAP (`weights.clap` names one for both).
64 clips a batch (theirs: 60), 1e-6, weight decay 1e-4, 250 steps of warm-up, 10 epochs of AudioCaps, weights 1 on
latents and 0.1 on each cosine are ConsistencyTTA's. Eight clips are heard at a time, one on each of eight devices: set
--config.stage.audio.chunk to a multiple of yours. Memory does not grow with the batch.
Cost: see docs/distillation.md. Not run here at this size. Expected (its poster, one call): FAD 2.41 and CLAP 24.7
against 2.58 and 22.5 without this stage.
"""

from configs.base import PROMPTS
from configs.published import HUB, data, networks, run, weights
from ldm_jax.distill.audio_space import AudioSpace
from ldm_jax.train.config import Mesh, Prompts, architectures
from ldm_jax.train.optimizer import Optimizer
from ldm_jax.train.stages.consistency import ConsistencyStage


def get_config(arg=""):
    return run(
        "distill_clap",
        ConsistencyStage(audio=AudioSpace(clap_text=0.1, clap_audio=0.1, chunk=8)),
        networks=architectures(unet=networks()["unet"]),
        checkpoint=HUB,
        weights=weights(unet="runs/distill_consistency", teacher=HUB, clap=""),
        steps=7500,
        batch=64,
        ema=0.999,
        mesh=Mesh(),
        data=data("audiocaps", mix=0.5),
        optimizer=Optimizer(learning_rate=1e-6, warmup_steps=250, weight_decay=1e-4),
        prompts=Prompts(texts=PROMPTS),
    )
