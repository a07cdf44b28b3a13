"""ConsistencyTTA's classes with our weights, and what stands in the place of what they load from elsewhere.

Their `AudioGDM` and `AudioLCM` run whole. Stand-ins are text encoder, VAE with its vocoder and CLAP's tower. Where they
cast to float32, `double` has float64.
"""

import contextlib
import functools
import importlib.util
import json
import logging
import os
import pathlib
import sys
import types
from collections.abc import Iterator
from typing import Any
from unittest import mock

import huggingface_hub
import numpy as np
import torch
import torchlibrosa
import transformers
from torch import nn

from tests import cases_distill_consistency as cases

SOURCE = os.environ.get("CONSISTENCYTTA_SOURCE")
NETWORKS = {
    "teacher": "teacher_unet",
    "student": "student_unet",
    "target": "student_target_unet",
    "ema": "student_ema_unet",
}


@contextlib.contextmanager
def official() -> Iterator[Any]:
    """Their package `models`, while their `diffusers` stands in the place of any other."""
    stubs = {name: _module() for name in ("accelerate", "wandb", "resampy")} | {
        "accelerate.logging": _module(get_logger=lambda name, **_: logging.getLogger(name)),
        "laion_clap": _module(CLAP_Module=Clap),
        "torchaudio._extension": _module(  # compiled operators, which resampling does without
            _IS_TORCHAUDIO_EXT_AVAILABLE=False, fail_if_no_align=lambda function: function
        ),
    }
    with (
        mock.patch.dict(sys.modules),
        mock.patch.object(sys, "path", [SOURCE, *sys.path]),
        mock.patch.dict(os.environ, USE_FLAX="0", USE_TORCH="1"),
        mock.patch.object(huggingface_hub, "cached_download", None, create=True),
    ):
        for name in list(sys.modules):
            if name.split(".")[0] in {"diffusers", "models", "tools", *stubs}:
                del sys.modules[name]
        import diffusers  # theirs, which looks for what is a stub below

        assert pathlib.Path(diffusers.__file__).is_relative_to(pathlib.Path(str(SOURCE)).resolve())
        sys.modules.update(stubs)
        import models

        yield models


@contextlib.contextmanager
def double() -> Iterator[None]:
    """float64 wherever they say float32."""
    from diffusers.schedulers import scheduling_heun_discrete as heun

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    numpy = types.SimpleNamespace(**{**vars(np), "float32": np.float64})
    try:
        with (
            mock.patch.object(torch, "float32", torch.float64),
            mock.patch.object(heun, "np", numpy),
            mock.patch.object(torch.Tensor, "float", torch.Tensor.double),
        ):
            yield
    finally:
        torch.set_default_dtype(before)


class Text(nn.Module):
    """In place of FLAN-T5: a state a token."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(tensor(cases.embedding()))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[Any]:
        del attention_mask
        return (self.table[input_ids],)


class Tokenizer:
    """In place of FLAN-T5's."""

    model_max_length = 512

    def __call__(self, prompts: list[str], *, max_length: int, padding: Any, **_: Any) -> Any:
        ids, mask = cases.tokens(prompts, max_length if padding == "max_length" else None)
        ids, mask = torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))
        return types.SimpleNamespace(input_ids=ids, attention_mask=mask)


class Decoder(nn.Module):
    """In place of the VAE's decoder and the vocoder."""

    def __init__(self) -> None:
        super().__init__()
        self.arrays = {name: tensor(x) for name, x in cases.audio_weights().items()}

    def decode_first_stage(
        self, z: torch.Tensor, allow_grad: bool = False, use_ema: bool = False
    ) -> torch.Tensor:
        del use_ema
        assert allow_grad
        return torch.tanh(z.flatten(1) @ self.arrays["to_mel"]).reshape(-1, 1, *cases.MEL)

    def decode_to_waveform(self, mel: torch.Tensor, allow_grad: bool = False) -> torch.Tensor:
        assert allow_grad
        return torch.tanh(mel.flatten(1) @ self.arrays["to_partials"] @ self.arrays["partials"]) / 2


class Clap(nn.Module):
    """In place of LAION's CLAP, from its spectrogram on; a caption is its number here."""

    def __init__(self, *, enable_fusion: bool, amodel: str) -> None:
        super().__init__()
        assert (enable_fusion, amodel) == (False, "HTSAT-base")
        self.arrays = {k: tensor(x) for k, x in (cases.audio_weights() | cases.heard()).items()}
        self.features = _laion_features()
        librosa = torchlibrosa.stft.librosa
        mel = functools.partial(librosa.filters.mel, dtype=np.float64)
        with mock.patch.object(librosa.filters, "mel", mel):  # as laion_clap/clap_module/htsat.py
            self.front = nn.Sequential(
                torchlibrosa.Spectrogram(n_fft=1024, hop_length=480),
                torchlibrosa.LogmelFilterBank(
                    sr=48_000, n_fft=1024, n_mels=64, fmin=50, fmax=14_000, top_db=None
                ),
            )

    def load_ckpt(self, path: str) -> None:
        assert path.endswith("music_audioset_epoch_15_esc_90.14.pt")

    def get_audio_embedding_from_data(self, x: torch.Tensor, use_tensor: bool) -> torch.Tensor:
        assert use_tensor
        options = {"data_truncating": "rand_trunc", "data_filling": "repeatpad", "audio_cfg": None}
        rows = [self.features({}, wave, 480_000, **options, require_grad=True) for wave in x]
        frames = self.front(torch.stack([row["waveform"] for row in rows]))[:, 0]
        hidden = torch.tanh(frames @ self.arrays["to_hidden"]).mean(1)
        return nn.functional.normalize(hidden @ self.arrays["to_clap"], dim=-1)

    def get_text_embedding(self, captions: list[str], use_tensor: bool) -> torch.Tensor:
        assert use_tensor
        return self.arrays["text"][[cases.PROMPTS.index(caption) for caption in captions]]


@functools.cache
def _laion_features() -> Any:
    """How their copy of LAION's code brings waves to 10 s."""
    unused = (
        "h5py braceexpand pandas webdataset PIL wget transformers clap_module clap_module.utils "
    )
    unused += "torchvision torchvision.datasets torchvision.transforms"
    stubs = {name: mock.MagicMock() for name in unused.split()}
    path = pathlib.Path(str(SOURCE)) / "laion_clap/training/data.py"
    spec = importlib.util.spec_from_file_location("laion_data", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(sys.modules, stubs):
        spec.loader.exec_module(module)
    return module.get_audio_features


def _module(**names: Any) -> types.ModuleType:
    module = types.ModuleType("stub")
    vars(module).update(names)
    return module


def tensor(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x).to(torch.float64)


def configs(folder: pathlib.Path) -> None:
    (folder / "scheduler").mkdir()
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(cases.SCHEDULER))
    (folder / "light.json").write_text(json.dumps(cases.UNET))


def build(models: Any, folder: str, cls: Any, scale: int, **options: Any) -> Any:
    """One of their classes with our weights, ready to train."""
    with (
        mock.patch.object(transformers.AutoTokenizer, "from_pretrained", return_value=Tokenizer()),
        mock.patch.object(transformers.T5EncoderModel, "from_pretrained", return_value=Text()),
    ):
        net = cls(
            text_encoder_name="t5",
            scheduler_name=folder,
            unet_model_config_path=f"{folder}/light.json",
            snr_gamma=cases.GAMMA,
            teacher_guidance_scale=scale,
            vae=Decoder(),
            **options,
        )
    for name, attribute in NETWORKS.items():
        if unet := getattr(net, attribute, None):
            shapes = {key: tuple(x.shape) for key, x in unet.state_dict().items()}
            tensors = cases.weights(shapes, name).items()
            unet.load_state_dict({key: tensor(x) for key, x in tensors})
    return net.train()
