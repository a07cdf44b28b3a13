"""Small progressive students: 200 steps to 100, 50 and 25, or (:few) from 25 to 5 and 1.

python train.py --config=configs/small/distill_progressive.py --workdir=runs/small/distill_progressive
python train.py --config=configs/small/distill_progressive.py:few --workdir=runs/small/distill_few
"""

from configs.small.system import distil, from_encodings, optimizer
from ldm_jax.train.stages.progressive import ProgressiveStage

CHAINS = {
    "": ("progressive", (100, 50, 25), "runs/small/distill_guided"),
    "few": ("few", (5, 1), "runs/small/distill_progressive"),
}


def get_config(arg=""):
    name, students, teacher = CHAINS[arg]
    return distil(
        name,
        ProgressiveStage(students=students, weighting="bsa", stratified=True, **from_encodings()),
        unet=teacher,
        steps=5000 * len(students),
        optimizer=optimizer(learning_rate=2e-4, schedule="linear", weight_decay=0.0),
    )
