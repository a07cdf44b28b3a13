"""The authors' Vocos (PyPI's `vocos`) on given weights."""

import functools
import importlib
import sys
import types
from typing import Any
from unittest import mock

import huggingface_hub  # noqa: F401  # here, and not first within `_official`, which would forget them
import numpy as np
import scipy.signal  # noqa: F401
import torch
import yaml  # noqa: F401


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    return {name: tuple(x.shape) for name, x in _network(config).named_parameters()}


def run(
    config: dict, tensors: dict[str, np.ndarray], inputs: dict[str, np.ndarray], *, dtype: str
) -> dict[str, np.ndarray]:
    kind = getattr(torch, dtype)
    model = _network(config).to(kind)
    model.load_state_dict(
        {name: torch.from_numpy(tensor).to(kind) for name, tensor in tensors.items()}
        # A buffer, which was computed in float32.
        | {"head.istft.window": torch.hann_window(config["n_fft"], dtype=kind)},
        strict=True,
    )
    model.eval()
    with torch.inference_mode():
        wave = model.head(model.backbone(torch.from_numpy(inputs["mel"]).to(kind).mT))
    return {"wave": wave.numpy()}


def _network(config: dict) -> Any:
    models, heads = _official()
    sizes = dict(config)
    transform = {name: sizes.pop(name) for name in ("n_fft", "hop_length")}
    return torch.nn.ModuleDict(
        {
            "backbone": models.VocosBackbone(**sizes),
            "head": heads.ISTFTHead(config["dim"], **transform, padding="same"),
        }
    )


@functools.cache
def _official() -> tuple[Any, Any]:
    """Its modules `models` and `heads`, without what the package imports for feature extractors and other heads."""
    stubs = {
        "encodec": _module(EncodecModel=None),
        "torchaudio": _module(),
        "torchaudio.functional": _module(),
        "torchaudio.functional.functional": _module(_hz_to_mel=None, _mel_to_hz=None),
    }
    with mock.patch.dict(sys.modules, stubs):
        return importlib.import_module("vocos.models"), importlib.import_module("vocos.heads")


def _module(**names: Any) -> types.ModuleType:
    module = types.ModuleType("stub")
    vars(module).update(names)
    return module
