r"""Writes tests/golden/clap_training.npz from LAION's own code, kept elsewhere.

    git clone https://github.com/LAION-AI/CLAP /tmp/CLAP
    CLAP_SOURCE=/tmp/CLAP .venv-parity/bin/python -m tests.parity.goldens_clap_training

Without the variable the file stays as it is. LAION's audio tower and loss run beside transformers' RoBERTa, which LAION
takes too, in training mode: batch norm by the batch, SpecAugment with given stripes, and dropout and stochastic depth
as `training_goldens.wave`.
"""

import importlib
import os
import pathlib
import sys
import types
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn
from transformers import RobertaConfig, RobertaModel

from tests import cases_clap, golden, training_goldens
from tests import cases_clap_training as cases


class _Same(nn.Module):
    """In place of the wave's spectrogram: features come in ready."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class _Stripes(_Same):
    """In place of SpecAugment's draws."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.from_numpy(cases.kept()[:, None]).to(x.dtype)


class Pair(nn.Module):
    """Both towers and their projections, under LAION's names."""

    def __init__(self, htsat: Any) -> None:
        super().__init__()
        sizes = {"mel_bins": cases.MELS, "window_size": 1024, "hop_size": 480}
        settings = types.SimpleNamespace(**sizes, sample_rate=48_000, fmin=50, fmax=14_000)
        self.audio_branch = htsat.HTSAT_Swin_Transformer(
            config=settings, num_classes=3, **cases.AUDIO
        )
        self.text_branch = RobertaModel(RobertaConfig(**cases.TEXT, attn_implementation="eager"))
        for name, width in (("text", 32), ("audio", 32)):
            layers = nn.Linear(width, cases.DIM), nn.ReLU(), nn.Linear(cases.DIM, cases.DIM)
            setattr(self, f"{name}_projection", nn.Sequential(*layers))
        self.logit_scale_a = nn.Parameter(torch.zeros(()))
        self.logit_scale_t = nn.Parameter(torch.zeros(()))

    def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        mask = batch["clap_mask"].long()
        text = self.text_branch(input_ids=batch["clap_ids"].long(), attention_mask=mask)
        audio = self.audio_branch({"waveform": batch["clap_audio"][:, None]})["embedding"]
        ours = self.text_projection(text.pooler_output), self.audio_projection(audio)
        text, audio = (nn.functional.normalize(x, dim=-1) for x in ours)
        return text, audio


def official(source: pathlib.Path) -> tuple[Any, Any]:
    """LAION's modules `htsat` and `loss`, without what they import for other ends."""
    package = types.ModuleType("laion")
    package.__path__ = [str(source / "src/laion_clap/clap_module")]
    stubs = {
        "laion": package,
        "torchlibrosa": types.ModuleType("torchlibrosa"),
        "torchlibrosa.stft": _module(Spectrogram=_Same, LogmelFilterBank=_Same),
        "torchlibrosa.augmentation": _module(SpecAugmentation=_Stripes),
        "laion.utils": _module(do_mixup=None, interpolate=lambda x, _: x),
    }
    with mock.patch.dict(sys.modules, stubs):
        return importlib.import_module("laion.htsat"), importlib.import_module("laion.loss")


def _module(**names: Any) -> types.ModuleType:
    module = types.ModuleType("stub")
    vars(module).update(names)
    return module


def _dropout(x: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    del inplace
    return x * torch.from_numpy(training_goldens.wave(tuple(x.shape), p if training else 0.0))


def _drop_path(x: torch.Tensor, drop_prob: float = 0.0, training: bool = False) -> Any:
    shape = (len(x),) + (1,) * (x.ndim - 1)
    return x * torch.from_numpy(training_goldens.wave(shape, drop_prob if training else 0.0))


def write() -> None:
    """Writes the file where LAION's code is at hand."""
    if not (source := os.environ.get("CLAP_SOURCE")):
        print("CLAP_SOURCE is not set: tests/golden/clap_training.npz stays as it is")
        return
    htsat, loss = official(pathlib.Path(source))
    model = Pair(htsat).double()
    unused = ("tscam_conv", "audio_branch.head", "num_batches_tracked", "position", "attn_mask")
    shapes = {
        name: tuple(x.shape)
        for name, x in model.state_dict().items()
        if name.endswith(("position_bias_table", "position_embeddings.weight"))
        or not any(part in name for part in unused)
    }
    tensors = {k: torch.from_numpy(x) for k, x in cases_clap.weights(shapes).items()}
    found = model.load_state_dict(tensors, strict=False)
    assert not found.unexpected_keys
    assert all(any(part in name for part in unused) for name in found.missing_keys), found
    outputs: dict[str, np.ndarray] = {}
    with (
        mock.patch.object(nn.functional, "dropout", _dropout),
        mock.patch.object(htsat, "drop_path", _drop_path),
    ):
        batch = {name: torch.from_numpy(x) for name, x in cases.batch().items()}
        text, audio = model.train()(batch)
    audio_scale, text_scale = model.logit_scale_a.exp(), model.logit_scale_t.exp()
    pairs = torch.arange(len(text))
    both_ways = [
        nn.functional.cross_entropy(audio_scale * audio @ text.T, pairs),
        nn.functional.cross_entropy(text_scale * text @ audio.T, pairs),
    ]
    two_scales = torch.stack(both_ways).mean()
    outputs["two_scales"] = two_scales.detach().numpy()
    two_scales.backward(retain_graph=True)
    gradients = {key: x.grad.numpy() for key, x in model.named_parameters() if key in shapes}
    outputs["two_scales_gradients"] = training_goldens.packed(gradients)
    published = loss.ClipLoss()(audio, text, audio_scale)
    slopes = torch.autograd.grad(published, (text, audio, model.logit_scale_a))
    outputs["one_scale"] = published.detach().numpy()
    for key, x in zip(("text", "audio", "scale"), slopes, strict=True):
        outputs[f"one_scale_{key}_gradient"] = x.numpy()
    for key in ("running_mean", "running_var"):
        outputs[key] = getattr(model.audio_branch.bn0, key).numpy()
    outputs["scale"] = model.logit_scale_a.detach().numpy()
    outputs |= {"text": text.detach().numpy(), "audio": audio.detach().numpy()}
    golden.save("clap_training", shapes=shapes, outputs=outputs)


if __name__ == "__main__":
    write()
