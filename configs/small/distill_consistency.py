"""Small one-step student.

python train.py --config=configs/small/distill_consistency.py --workdir=runs/small/distill_consistency

Its teacher is the guided student, which needs one call where the model that this one was distilled from needs two.
"""

from configs.small.system import distil, from_encodings, optimizer
from ldm_jax.train.stages.consistency import ConsistencyStage


def get_config(arg=""):
    return distil(
        "consistency",
        ConsistencyStage(guidance=(), stratified=True, **from_encodings(arg)),
        folder=arg,
        unet="runs/small/distill_guided",
        optimizer=optimizer(learning_rate=2e-4, schedule="linear", weight_decay=1e-4),
    )
