"""Golden outputs of torchvggish, of panns_inference's Cnn14, and of both front ends."""

import numpy as np
import torch

from tests import cases_audio
from tests import cases_eval_networks as cases
from tests.golden import save
from tests.parity import oracle_eval_networks as oracle


def write() -> None:
    for name, module in cases.CNN14.items():
        net = oracle.cnn14(module, None)
        shapes = oracle.shapes(net)
        oracle.fill(net, cases.weights(shapes), torch.float64)
        clips = [oracle.run_cnn14(net, clip) for clip in cases.log_mels()]
        outputs = {key: np.concatenate([clip[key] for clip in clips]) for key in clips[0]}
        save(f"cnn14_{name}", shapes=shapes, outputs=outputs)
    for name, module in cases.VGGISH.items():
        net = oracle.vggish(module)
        shapes = oracle.shapes(net)
        oracle.fill(net, cases.weights(shapes), torch.float64)
        embedding = oracle.run_vggish(net, cases.examples())
        save(f"vggish_{name}", shapes=shapes, outputs={"embedding": embedding})
    outputs = {}
    for samples in cases.WAVES:
        examples = oracle.vggish_examples(cases_audio.wave(samples, 16_000))
        outputs[f"vggish_{samples}_shape"] = np.array(examples.shape)
        outputs[f"vggish_{samples}"] = examples[:, cases.KEPT_FRAMES].astype(np.float32)
    for name, (settings, samples) in cases.PANNS_CASES.items():
        wave = cases_audio.wave(samples, settings.sample_rate)
        log_mel = oracle.panns_log_mel(wave, settings)
        outputs[f"panns_{name}_shape"] = np.array(log_mel.shape)
        outputs[f"panns_{name}"] = log_mel[cases_audio.kept(len(log_mel))].astype(np.float32)
    save("eval_features", shapes={}, outputs=outputs)


if __name__ == "__main__":
    write()
