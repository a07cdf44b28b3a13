"""haoheliu/audioldm_eval at 8dc07ee, backbone "cnn14": `EvaluationHelper.main` at 16 and at 32 kHz.

Patched: downloads of weights (ours are put in), reading by soundfile in place of torchcodec, data loaders without
worker processes, the Tacotron STFT (for PSNR and SSIM, which are off), modules that it imports and does not use.
"""

import pathlib
import sys
import tempfile

import numpy as np
import torch

from tests import golden
from tests.eval.preset_clips import write_pairs
from tests.parity.presets import networks


def main(clone, vggish):
    """Both rates, as tests/golden/preset_audioldm_eval.npz."""
    sys.path.insert(0, clone)
    networks.stub("skimage.metrics", peak_signal_noise_ratio=None, structural_similarity=None)
    networks.stub("ssr_eval.metrics", AudioMetrics=None)
    networks.torchvision_without_operators()
    networks.torchaudio_by_soundfile()
    networks.old_sqrtm()
    network = networks.torchvggish(vggish)
    torch.hub.load = lambda *_: networks.narrow_vggish(network(None, pretrained=False))
    import audioldm_eval.eval as tool
    from audioldm_eval.feature_extractors.panns import models

    models.os.system = lambda _: 0
    torch.load = lambda *_, **__: {"model": {}}
    models.Cnn14.load_state_dict = lambda *_, **__: None
    tool.Audio.TacotronSTFT = lambda *_: None
    found = {}
    with tempfile.TemporaryDirectory() as folder, networks.in_process():
        generated, reference = write_pairs(pathlib.Path(folder))
        for rate in (16_000, 32_000):
            helper = tool.EvaluationHelper(rate, torch.device("cpu"), backbone="cnn14")
            del models.Cnn14.load_state_dict
            networks.narrow_cnn14(helper.mel_model, models.ConvBlock)
            models.Cnn14.load_state_dict = lambda *_, **__: None
            figures = helper.main(f"{generated}", f"{reference}")
            kept = {name: x for name, x in figures.items() if np.isfinite(x)}
            found |= {f"{rate}/{name}": np.float64(x) for name, x in kept.items()}
            waves = tool.WaveDataset(str(generated), rate)
            found[f"{rate}/waves"] = networks.summary([waves[i][0][0].numpy() for i in range(12)])
            for cache in pathlib.Path(folder).glob("*cache*"):
                cache.unlink()
    golden.save("preset_audioldm_eval", shapes={}, outputs=found)
    print({name: x for name, x in found.items() if not x.shape})


if __name__ == "__main__":
    main(*sys.argv[1:])
