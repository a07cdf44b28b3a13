"""Small progressive students: 200 steps to 100, 50 and 25, or (:few) from 25 to 5 and 1.

python train.py --config=configs/small/distill_progressive.py --workdir=runs/small/distill_progressive
python train.py --config=configs/small/distill_progressive.py:few --workdir=runs/small/distill_few
"""

from configs.small.system import distil, from_encodings, optimizer
from ldm_jax.train.stages.progressive import ProgressiveStage

# A student that halves many steps is nearly its teacher when it begins: with 2e-4 its error grew tenfold in 20 updates.
CHAINS = {
    "": ("progressive", (100, 50, 25), "runs/small/distill_guided", 2e-5),
    "few": ("few", (5, 1), "runs/small/distill_progressive", 2e-4),
}


def get_config(arg=""):
    name, students, teacher, rate = CHAINS[arg]
    return distil(
        name,
        ProgressiveStage(students=students, weighting="bsa", stratified=True, **from_encodings()),
        unet=teacher,
        steps=5000 * len(students),
        optimizer=optimizer(learning_rate=rate, schedule="linear", weight_decay=0.0),
    )
