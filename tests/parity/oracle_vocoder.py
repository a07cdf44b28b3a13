"""transformers' SpeechT5HifiGan on given weights."""

import numpy as np
import torch
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = SpeechT5HifiGan(SpeechT5HifiGanConfig(**config))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def run(
    config: dict, tensors: dict[str, np.ndarray], inputs: dict[str, np.ndarray], *, dtype: str
) -> dict[str, np.ndarray]:
    model = load(config, tensors, dtype=dtype)
    with torch.inference_mode():
        wave = model(torch.from_numpy(inputs["mel"]).to(getattr(torch, dtype)))
    return {"wave": wave.numpy()}


def load(config: dict, tensors: dict[str, np.ndarray], *, dtype: str) -> SpeechT5HifiGan:
    with torch.device("meta"):
        model = SpeechT5HifiGan(SpeechT5HifiGanConfig(**config))
    kind = getattr(torch, dtype)
    state = {name: torch.from_numpy(tensor).to(kind) for name, tensor in tensors.items()}
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval()


def weight_normed(config: dict, *, parametrized: bool) -> tuple[dict, dict]:
    """(tensors as a training checkpoint holds them, folded weights) by torch's own weight norm."""
    with torch.device("meta"):
        model = SpeechT5HifiGan(SpeechT5HifiGanConfig(**config))
    model = model.to_empty(device="cpu")
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    torch.nn.init.zeros_(model.mean)
    torch.nn.init.ones_(model.scale)
    layers = [
        x for x in model.modules() if isinstance(x, torch.nn.Conv1d | torch.nn.ConvTranspose1d)
    ]
    norm = (
        torch.nn.utils.parametrizations.weight_norm if parametrized else torch.nn.utils.weight_norm
    )
    for layer in layers:
        norm(layer)
    for name, parameter in model.named_parameters():
        if name.endswith(("weight_g", "original0")):
            torch.nn.init.uniform_(parameter, 0.5, 2.0)
    normed = {name: x.detach().clone().numpy() for name, x in model.state_dict().items()}
    for layer in layers:
        if parametrized:
            torch.nn.utils.parametrize.remove_parametrizations(layer, "weight")
        else:
            torch.nn.utils.remove_weight_norm(layer)
    return normed, {name: x.detach().numpy() for name, x in model.state_dict().items()}
