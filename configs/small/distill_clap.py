"""Small one-step student, fine-tuned by ear.

python train.py --config=configs/small/distill_clap.py --workdir=runs/small/distill_clap

Figures with the CLAP that it was tuned by say nothing: evaluate with another.
"""

from configs.small.system import distil, optimizer
from ldm_jax.distill.audio_space import AudioSpace
from ldm_jax.train.stages.consistency import ConsistencyStage


def get_config(arg=""):
    made = distil(
        "clap",
        ConsistencyStage(
            guidance=(), stratified=True, audio=AudioSpace(clap_text=0.1, clap_audio=0.1)
        ),
        unet="runs/small/distill_consistency",
        steps=2000,
        optimizer=optimizer(learning_rate=2e-5, weight_decay=1e-4),
    )
    made.weights.teacher = "runs/small/distill_guided"
    made.weights.vocoder = "runs/small/vocos"
    return made
