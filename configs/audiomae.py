"""AudioMAE ViT-B/16 on AudioSet-2M: four fifths of 512 patches hidden, Swin decoder of 16 blocks.

python train.py --config=configs/audiomae.py --workdir=runs/audiomae

The published recipe (arXiv 2207.06405 and its scripts): 33 epochs of which 3 warm up, 512 clips a batch, 4e-4 (2e-4
for every 256 clips), betas 0.9 and 0.95, decay 1e-4, rolls in time and gains. 33 epochs of 2,000,000 clips are
128,900 batches.
Cost: 132 GFLOP a clip, 8.7 EFLOP in all: 6.1 hours of an H200 at 40 % of its peak; it takes some 5000 clips a second
for a v5e-8, which is 30 CPU cores' work (docs/scaling.md). Expected: 47.3 mAP after fine-tuning on AudioSet (the
paper).
"""

from configs.published import data, run, weights
from ldm_jax.models.audiomae import AudioMAE
from ldm_jax.train.config import Mesh, architectures
from ldm_jax.train.optimizer import Optimizer
from ldm_jax.train.stages.audiomae import AudioMAEStage

EPOCH = 3906  # batches


def get_config(arg=""):
    return run(
        "audiomae",
        AudioMAEStage(),
        networks=architectures(audiomae=AudioMAE(decoder="swin", decoder_depth=16)),
        weights=weights(audiomae=""),
        steps=33 * EPOCH,
        batch=512,
        mesh=Mesh(),
        data=data("audioset", roll=True, gain=True),
        optimizer=Optimizer(
            learning_rate=4e-4,
            b2=0.95,
            weight_decay=1e-4,
            warmup_steps=3 * EPOCH,
            schedule="cosine",
        ),
    )
