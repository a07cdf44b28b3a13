"""The text encoder of transformers' VitsModel on given weights."""

import numpy as np
import torch
from transformers import VitsConfig
from transformers.models.vits.modeling_vits import VitsTextEncoder

PREFIX = "text_encoder."
UNUSED = ("project.weight", "project.bias")  # VITS' prior; AudioLDM 2 takes the states before it


def _empty(config: dict) -> VitsTextEncoder:
    with torch.device("meta"):
        return VitsTextEncoder(VitsConfig.from_dict(config))


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    return {
        PREFIX + name: tuple(tensor.shape)
        for name, tensor in _empty(config).state_dict().items()
        if name not in UNUSED
    }


def build(config: dict, tensors: dict[str, np.ndarray], *, dtype: str) -> VitsTextEncoder:
    model = _empty(config)
    kind = getattr(torch, dtype)
    state = {
        name.removeprefix(PREFIX): torch.tensor(np.array(tensor), dtype=kind)
        for name, tensor in tensors.items()
    }
    rest = {name: torch.zeros(model.state_dict()[name].shape, dtype=kind) for name in UNUSED}
    model.load_state_dict(state | rest, strict=True, assign=True)
    return model.eval()


def run(
    config: dict, tensors: dict[str, np.ndarray], inputs: dict[str, np.ndarray], *, dtype: str
) -> dict[str, np.ndarray]:
    model = build(config, tensors, dtype=dtype)
    ids, mask = torch.from_numpy(inputs["token_ids"]).long(), torch.from_numpy(inputs["mask"])
    with torch.inference_mode():  # as AudioLDM2Pipeline calls it
        out = model(ids, attention_mask=mask.long(), padding_mask=mask.long().unsqueeze(-1))
    return {"states": out.last_hidden_state.numpy()}
