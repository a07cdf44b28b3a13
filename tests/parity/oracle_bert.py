"""transformers' BertModel on given weights."""

import numpy as np
import torch
from transformers import BertConfig, BertModel


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = BertModel(BertConfig.from_dict(config), add_pooling_layer=False)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def run(
    config: dict, tensors: dict[str, np.ndarray], inputs: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    model = BertModel(BertConfig.from_dict(config), add_pooling_layer=False).double().eval()
    model.load_state_dict({name: torch.tensor(x) for name, x in tensors.items()}, strict=True)
    ids, mask = torch.from_numpy(inputs["token_ids"]).long(), torch.from_numpy(inputs["mask"])
    with torch.inference_mode():
        states = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return {"states": states.numpy()}
