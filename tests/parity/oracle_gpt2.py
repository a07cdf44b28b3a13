"""transformers' GPT2Model on given weights: on whole sequences, and a token at a time."""

import contextlib

import numpy as np
import torch
from transformers import GPT2Config, GPT2Model


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = GPT2Model(GPT2Config.from_dict(config))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def build(config: dict, tensors: dict[str, np.ndarray], *, dtype: str) -> GPT2Model:
    model = GPT2Model(GPT2Config.from_dict(config)).to(getattr(torch, dtype))
    state = {name: torch.tensor(tensor) for name, tensor in tensors.items()}
    model.load_state_dict(state, strict=True)
    return model.eval()


@contextlib.contextmanager
def default_dtype(dtype: str):
    """The peer makes its masks in torch's default type; it has to hold `dtype`'s least number."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def run(
    config: dict, tensors: dict[str, np.ndarray], inputs: dict[str, np.ndarray], *, dtype: str
) -> dict[str, np.ndarray]:
    """`whole` (no mask), `masked`, `placed` (mask and position ids), and `stepwise`.

    The last takes all but 5 columns at once and the rest one by one.
    """
    model = build(config, tensors, dtype=dtype)
    embeds = torch.from_numpy(inputs["embeds"]).to(getattr(torch, dtype))
    mask = torch.from_numpy(inputs["mask"]).long()
    positions = torch.from_numpy(inputs["position_ids"]).long()
    start = embeds.shape[1] - 5
    with torch.inference_mode(), default_dtype(dtype):
        whole = model(inputs_embeds=embeds)
        masked = model(inputs_embeds=embeds, attention_mask=mask)
        placed = model(inputs_embeds=embeds, attention_mask=mask, position_ids=positions)
        out = model(inputs_embeds=embeds[:, :start], attention_mask=mask[:, :start], use_cache=True)
        states = [out.last_hidden_state]
        for i in range(start, embeds.shape[1]):
            out = model(
                inputs_embeds=embeds[:, i : i + 1],
                attention_mask=mask[:, : i + 1],
                past_key_values=out.past_key_values,
                use_cache=True,
            )
            states.append(out.last_hidden_state)
    return {
        "whole": whole.last_hidden_state.numpy(),
        "masked": masked.last_hidden_state.numpy(),
        "placed": placed.last_hidden_state.numpy(),
        "stepwise": torch.cat(states, dim=1).numpy(),
    }
