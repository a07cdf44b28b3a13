"""diffusers' AutoencoderKL on given weights."""

import numpy as np
import torch
from diffusers import AutoencoderKL


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = AutoencoderKL.from_config(config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def run(
    config: dict, tensors: dict[str, np.ndarray], inputs: dict[str, np.ndarray], *, dtype: str
) -> dict[str, np.ndarray]:
    model = load(config, tensors, dtype=dtype)
    kind = getattr(torch, dtype)
    x = {name: torch.from_numpy(array).movedim(-1, 1).to(kind) for name, array in inputs.items()}
    with torch.inference_mode():
        outputs = {}
        if "mel" in x:
            posterior = model.encode(x["mel"]).latent_dist
            outputs |= {"mean": posterior.mean, "logvar": posterior.logvar}
        if "latents" in x:
            outputs["decoded"] = model.decode(x["latents"]).sample
    return {name: tensor.movedim(1, -1).numpy() for name, tensor in outputs.items()}


def load(config: dict, tensors: dict[str, np.ndarray], *, dtype: str) -> AutoencoderKL:
    with torch.device("meta"):
        model = AutoencoderKL.from_config(config)
    kind = getattr(torch, dtype)
    state = {name: torch.from_numpy(tensor).to(kind) for name, tensor in tensors.items()}
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval()
