"""AudioLDM 2 large (712 M parameters): a fourth slot and two blocks in each transformer; else as `base.py`.

python train.py --config=configs/large.py --workdir=runs/large --config.weights.audiomae=audiomae_16k_128bins.ckpt

Cost: 1508 GFLOP a clip from sound; 290 EFLOP in all: 203 hours of an H200, 128 of a v5e-8, at 40 % of the peak.
Expected after joint fine-tuning (AudioCaps test, the paper): FAD 1.42, KL 0.98, CLAP 0.243 trained on AudioCaps; FAD
1.86, KL 1.64, CLAP 0.182 trained on everything.
"""

from configs import base


def get_config(arg=""):
    return base.get_config("large")
