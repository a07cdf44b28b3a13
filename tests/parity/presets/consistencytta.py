"""Bai-YT/ConsistencyTTA at 8ea43b6: `EvaluationHelper.main` of its copy of audioldm_eval, at 16 kHz.

Patched: weights put in place of downloads, data loaders without worker processes, imports of packages that evaluation
does not use, the rounding of figures to four digits. The tool pairs `output_N.wav` with the Nth line of a list for
CLAP and by name for all else; the files are named so on both sides. `clap/audio` and `clap/waves` are of the references
and then of the clips that are judged, in the order of N (`clap/order` has it), all else in that of the names.

The clip of 0.9 s (`TOO_SHORT`) is left out: its VGGish gets no frame of it, and the tool stops there.
Clips longer than 10 s are cut by the tool, so that its CLAP score draws nothing.
"""

import contextlib
import json
import os
import pathlib
import sys
import tempfile

import numpy as np
import torch

from tests import golden
from tests.eval.preset_clips import TOO_SHORT, captions, write_pairs
from tests.parity.presets import laion, networks

CHECKPOINT = "ckpt/music_audioset_epoch_15_esc_90.14.pt"  # where the tool looks for it


def main(clone, vggish):
    """All figures, as tests/golden/preset_consistencytta.npz."""
    sys.path.insert(0, clone)
    networks.old_sqrtm()
    network = networks.torchvggish(vggish)
    torch.hub.load = lambda *_: networks.narrow_vggish(network(None, pretrained=False))
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name), networks.in_process():
        laion.prepare(pathlib.Path(name) / "tokenizer")
        networks.stub("datasets", load_dataset=None)
        networks.stub("accelerate.logging", get_logger=lambda *_: None)
        found = _measure(pathlib.Path(name))
    golden.save("preset_consistencytta", shapes={}, outputs=found)
    print({key: x for key, x in found.items() if not x.shape})


def _measure(folder):
    import audioldm_eval.eval as tool
    from audioldm_eval.feature_extractors.panns import models
    from audioldm_eval.metrics import fad

    tool.Cnn14 = lambda **kwargs: networks.cnn14_of(models, **kwargs)
    laion.write_checkpoint(CHECKPOINT, "base", fusion=False, position_ids=False)
    generated, reference = write_pairs(folder)
    _rename(generated, reference, folder / "texts.json")
    helper = tool.EvaluationHelper(16_000, torch.device("cpu"))
    kept, features = [], []
    laion.record(helper.clap_model, kept)
    helper.mel_model.register_forward_hook(lambda _, x, out: features.append((x[0], out)) and None)
    tool.round = lambda x, _: x  # it keeps four digits
    figures = helper.main(
        str(folder / "texts.json"), str(generated), str(reference), target_length=1000
    )
    found = {name: np.float64(x) for name, x in figures.items()} | laion.summarised(kept)
    found["clap/order"] = np.argsort(_order())  # places among the sorted names of clips
    found["cnn14_16k/waves"] = networks.summary(
        [x[0].numpy() for x, _ in features]
    )  # references first
    for output in ("2048", "logits"):
        found[f"cnn14_16k/{output}"] = np.concatenate([out[output].numpy() for _, out in features])
    files = [side / f"output_{i}.wav" for side in (generated, reference) for i in _order()]
    found["vggish/waves"] = networks.summary([fad.load_audio_task(str(path)) for path in files])
    return found


def _order():
    """0, 1, 10, 11, 2, ...: numbers in the order of their names, in which the tool has its clips."""
    return sorted(range(len(captions()) - len(TOO_SHORT)), key=str)


def _rename(generated, reference, texts):
    """Names as the tool expects them, under which the clips keep their order; and its list of captions."""
    for side in (generated, reference):
        for name in TOO_SHORT:
            (side / f"{name}.wav").unlink()
    kept = sorted((name, text) for name, text in captions().items() if name not in TOO_SHORT)
    lines = {}
    for i, (name, caption) in zip(_order(), kept, strict=True):
        for side in (generated, reference):
            (side / f"{name}.wav").rename(side / f"output_{i}.wav")
        lines[i] = json.dumps({"captions": caption, "location": f"{reference}/output_{i}.wav"})
    texts.write_text("".join(f"{lines[i]}\n" for i in sorted(lines)))


if __name__ == "__main__":
    assert os.path.isdir(sys.argv[1]), "the folder of a clone"
    main(*map(os.path.abspath, sys.argv[1:]))
