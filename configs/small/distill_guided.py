"""Small guided student: the scale is an input, v is predicted, one call in place of two.

python train.py --config=configs/small/distill_guided.py --workdir=runs/small/distill_guided
"""

from configs.small.system import distil
from ldm_jax.train.stages.guided import GuidedStage


def get_config(arg=""):
    return distil(
        "guided",
        GuidedStage(prediction="v", guidance=(0.0, 6.0), weighting="min_snr", stratified=True),
        unet="runs/small/joint",
    )
