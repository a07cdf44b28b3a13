"""Small guided student: the scale is an input, v is predicted, one call in place of two.

python train.py --config=configs/small/distill_guided.py --workdir=runs/small/distill_guided
"""

from configs.small.system import distil, from_encodings, optimizer
from ldm_jax.train.stages.guided import GuidedStage


def get_config(arg=""):
    return distil(
        "guided",
        GuidedStage(
            prediction="v",
            guidance=(2.0, 5.0),
            weighting="snr_plus_one",
            stratified=True,
            **from_encodings(arg),
        ),
        folder=arg,
        unet="runs/small/joint",
        optimizer=optimizer(learning_rate=3e-4),
    )
