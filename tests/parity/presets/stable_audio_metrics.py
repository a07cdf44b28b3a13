"""Stability-AI/stable-audio-metrics at fd55536: `passt_kld` and `clap_score` (fusion checkpoint).

Patched: weights put in place of downloads, `.cuda()` and `device="cuda"` taken for the CPU, `torch.stft` without its
real-valued output. CLAP's three random windows of a long clip are drawn from NumPy's generator, seeded with 0; the
figure is also kept of the clips that have none (`clap_score_short`). OpenL3 is not run: it needs TensorFlow.
"""

import contextlib
import os
import pathlib
import sys
import tempfile

import numpy as np
import torch

from tests import golden
from tests.eval.preset_clips import FORMS, captions, write_pairs
from tests.parity.presets import laion, networks, passt

# Where the tool looks before it downloads.
CHECKPOINT = "load/clap_score/630k-audioset-fusion-best.pt"


def main(clone):
    """Everything, as tests/golden/preset_stable_audio_metrics.npz."""
    sys.path.insert(0, clone)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        laion.prepare(pathlib.Path(folder) / "tokenizer")
        passt.old_stft()
        torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *_, **__: self
        generated, reference = write_pairs(pathlib.Path(folder))
        found = _kl(generated, reference) | _clap(generated)
    golden.save("preset_stable_audio_metrics", shapes={}, outputs=found)
    print({name: x for name, x in found.items() if not x.shape})


def _kl(generated, reference):
    from src import passt_kld as tool

    waves, logits = [], []

    def keep(_, args, out):
        waves.append(args[0])
        logits.append(out)

    def build(mode):
        model = passt.get_basic_model(mode)
        model.register_forward_hook(keep)
        return model

    tool.get_basic_model = build
    names = sorted(captions())
    kl = tool.passt_kld(
        ids=names, eval_path=str(generated), ref_path=str(reference), collect="mean"
    )
    return {  # the references first, then the clips that are judged, window by window
        "kl_passt": np.float64(kl),
        "passt/waves": networks.summary([x[0].numpy() for x in waves]),
        "passt/logits": np.concatenate([x.numpy() for x in logits]),
    }


def _clap(generated):
    import laion_clap
    from src import clap_score as tool

    laion.write_checkpoint(CHECKPOINT, "tiny", fusion=True)
    short = {
        name: text
        for (name, text), form in zip(captions().items(), FORMS, strict=True)
        if form[0] <= 10
    }
    found = {}
    for key, texts in (("clap_score", captions()), ("clap_score_short", short)):
        kept = []
        init = laion_clap.CLAP_Module.__init__

        def patched(self, *args, init=init, kept=kept, **kwargs):
            init(self, *args, **{**kwargs, "device": "cpu"})
            laion.record(self, kept)

        laion_clap.CLAP_Module.__init__ = patched
        np.random.seed(0)
        found[key] = np.float64(tool.clap_score(texts, str(generated)))
        laion_clap.CLAP_Module.__init__ = init
        if key == "clap_score":
            found |= laion.summarised(kept)
    return found


if __name__ == "__main__":
    assert os.path.isdir(sys.argv[1]), "the folder of a clone"
    main(os.path.abspath(sys.argv[1]))
