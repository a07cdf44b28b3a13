"""diffusers' AudioLDM2UNet2DConditionModel on given weights.

It covers all published shapes: heads of one width are a list of numbers of heads, and the clip's
embedding of the 48 kHz model is a class embedding. Only the timestep's sinusoid is replaced where
the rest runs in float64, because diffusers computes it in float32 always.
"""

import numpy as np
import torch
from diffusers.pipelines.audioldm2 import AudioLDM2UNet2DConditionModel


class Sinusoid(torch.nn.Module):
    """[cos(t f_i), sin(t f_i)], f_i = 10000^(-i / half), in the timesteps' type."""

    def __init__(self, dim: int):
        super().__init__()
        self.half = dim // 2

    def forward(self, timesteps: torch.Tensor) -> torch.Tensor:
        exponents = torch.arange(self.half, dtype=timesteps.dtype) / self.half
        angles = torch.outer(timesteps, 10000**-exponents)
        return torch.cat([angles.cos(), angles.sin()], dim=1)


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = AudioLDM2UNet2DConditionModel.from_config(config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def load(
    config: dict, tensors: dict[str, np.ndarray], *, dtype: str
) -> AudioLDM2UNet2DConditionModel:
    with torch.device("meta"):
        model = AudioLDM2UNet2DConditionModel.from_config(config)
    kind = getattr(torch, dtype)
    state = {name: torch.from_numpy(tensor).to(kind) for name, tensor in tensors.items()}
    model.load_state_dict(state, strict=True, assign=True)
    if dtype == "float64":
        model.time_proj = Sinusoid(config["block_out_channels"][0])
    return model.eval()


def run(
    config: dict, tensors: dict[str, np.ndarray], inputs: dict[str, np.ndarray], *, dtype: str
) -> dict[str, np.ndarray]:
    model = load(config, tensors, dtype=dtype)
    kind = getattr(torch, dtype)
    x = {name: torch.from_numpy(array) for name, array in inputs.items()}
    x = {name: a if a.dtype == torch.bool else a.to(kind) for name, a in x.items()}
    streams = {"encoder_hidden_states": None}
    contexts = iter(range(len(inputs)))
    for slot, width in enumerate(config["cross_attention_dim"][0]):
        if width is not None:
            k, suffix = next(contexts), "" if slot <= 1 else "_1"
            streams[f"encoder_hidden_states{suffix}"] = x[f"context_{k}"]
            streams[f"encoder_attention_mask{suffix}"] = x.get(f"mask_{k}")
    with torch.inference_mode():
        output = model(
            x["latents"].movedim(-1, 1), x["timesteps"], class_labels=x.get("film"), **streams
        ).sample
    return {"output": output.movedim(1, -1).numpy()}
