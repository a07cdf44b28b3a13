"""hkchengrex/av-benchmark at 050a5cd without its video metrics: `extract`, `extract_text`, `evaluate`, 8 s, batch 1.

Patched: weights put in place of downloads, reading by soundfile in place of torchcodec, data loaders without worker
processes, "cuda" taken for the CPU; ImageBind, Synchformer and MS-CLAP are left out. The clip of 0.9 s is left out too
(`TOO_SHORT`): VGGish gets no frame of it, and the tool stops there.
"""

import argparse
import contextlib
import os
import pathlib
import sys
import tempfile
import types

import numpy as np
import torch

from tests import golden
from tests.eval.preset_clips import TOO_SHORT, captions, write_pairs
from tests.parity.presets import laion, networks, passt

CHECKPOINT = "music_speech_audioset_epoch_15_esc_89.98.pt"


class Absent(torch.nn.Module):
    """In place of a network that is left out."""

    def __init__(self, **_):
        super().__init__()

    def load_state_dict(self, *_, **__):
        pass

    def get_audio_embeddings(self, paths):
        return torch.zeros(len(paths), 2)

    def get_text_embeddings(self, texts):
        return torch.zeros(len(texts), 1)  # the tool drops all but the first of a batch of one


def main(clone):
    """All figures, as tests/golden/preset_av_benchmark.npz."""
    sys.path.insert(0, clone)
    networks.torchaudio_by_soundfile()
    networks.old_sqrtm()
    passt.old_stft()
    torch.nn.Module.cuda = lambda self, *_: self
    models = types.SimpleNamespace(imagebind_huge=Absent)
    networks.stub("imagebind.models", imagebind_model=models)
    networks.stub("imagebind.models.imagebind_model", ModalityType=None)
    networks.stub("msclap", CLAP=Absent)
    networks.stub("pytorchvideo.data.clip_sampling", ConstantClipsPerVideoSampler=None)
    networks.stub("hear21passt.base", get_basic_model=passt.get_basic_model)
    del sys.modules["hear21passt"]
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name), networks.in_process():
        folder = pathlib.Path(name)
        laion.prepare(folder / "tokenizer")
        stub = {"Synchformer": Absent, "make_class_grid": None}
        networks_of_clone = types.ModuleType("av_bench.synchformer.synchformer")
        vars(networks_of_clone).update(stub)
        sys.modules[networks_of_clone.__name__] = networks_of_clone
        found = _measure(folder)
    golden.save("preset_av_benchmark", shapes={}, outputs=found)
    print({key: x for key, x in found.items() if not x.shape})


def _measure(folder):
    import extract_text
    from av_bench import evaluate, extract, extraction_models
    from av_bench.panns import models
    from av_bench.vggish.vggish import VGGish

    laion.write_checkpoint(folder / CHECKPOINT, "base", fusion=False)
    torch.save({}, folder / "none.pth")
    extraction_models._clap_ckpt_path = extract_text._clap_ckpt_path = folder / CHECKPOINT
    extraction_models._syncformer_ckpt_path = evaluate._syncformer_ckpt_path = folder / "none.pth"
    evaluate.device = "cpu"
    extraction_models.Cnn14 = lambda **kwargs: networks.cnn14_of(models, **kwargs)
    extraction_models.VGGish = lambda **_: _vggish(VGGish)
    generated, reference = write_pairs(folder)
    for side in (generated, reference):
        for name in TOO_SHORT:
            (side / f"{name}.wav").unlink()
    cached = {side.name: folder / f"{side.name}_cache" for side in (generated, reference)}
    for side in (generated, reference):
        extract.extract(
            side, cached[side.name], audio_length=8.0, batch_size=1, num_workers=0, device="cpu",
            skip_video_related=True, skip_clap=side == reference,
        )  # fmt: skip
    lines = [f"{name},{text}" for name, text in captions().items() if name not in TOO_SHORT]
    (folder / "texts.csv").write_text("\n".join(["name,caption", *lines]) + "\n")
    extract_text.extract(
        argparse.Namespace(text_csv=folder / "texts.csv", output_cache_path=cached["reference"])
    )
    figures = evaluate.evaluate(cached["reference"], cached["generated"], skip_video_related=True)
    figures = {name: x for name, x in figures.items() if name != "MS-CLAP-Score"}
    return {name: np.float64(x) for name, x in figures.items()} | _kept(cached, extract)


def _kept(cached, extract):
    """The features that the tool cached, clip by clip, and its waves."""
    found = {}
    for side, folder in cached.items():
        files = {"passt_features_embed": "passt/features", "passt_logits": "passt/logits"}
        files |= {"vggish_features": "vggish", "pann_features": "cnn14_16k"}
        files |= (
            {"clap_laion_audio": "clap/audio"}
            if side == "generated"
            else {"clap_laion_text": "clap/texts"}
        )
        for file, name in files.items():
            stored = torch.load(folder / f"{file}.pth")
            rows = [stored[clip] for clip in sorted(stored)]
            if name == "cnn14_16k":
                for output in ("2048", "logits"):
                    found[f"{name}/{output}/{side}"] = np.stack(
                        [row[output].numpy() for row in rows]
                    )
            elif name == "vggish":
                found[f"{name}/{side}"] = np.concatenate([row.numpy() for row in rows])
            else:
                found[f"{name}/{side}"] = np.stack([row.numpy() for row in rows])
        audios = sorted((folder.parent / side).glob("*.wav"))
        for rate in (16_000, 32_000, 48_000):
            waves = extract.AudioDataset(audios, audio_length=8.0, sr=rate)
            found[f"waves/{rate}/{side}"] = networks.summary(
                [waves[i][0][0].numpy() for i in range(len(waves))]
            )
    return found


def _vggish(network):
    module = networks.narrow_vggish(network(pretrained=False, postprocess=False))
    module.embeddings = module.embeddings[:-1]  # as the tool has it
    return module


if __name__ == "__main__":
    assert os.path.isdir(sys.argv[1]), "the folder of a clone"
    main(os.path.abspath(sys.argv[1]))
