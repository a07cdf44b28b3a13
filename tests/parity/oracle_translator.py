"""diffusers' AudioLDM2ProjectionModel and the roll-out of AudioLDM2Pipeline, a clip at a time."""

import types

import numpy as np
import torch
from diffusers import AudioLDM2Pipeline
from diffusers.pipelines.audioldm2.modeling_audioldm2 import AudioLDM2ProjectionModel

from tests.cases_translator import part
from tests.parity import oracle_gpt2


def shapes(config: dict, gpt2: dict) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        front = AudioLDM2ProjectionModel.from_config(config).state_dict()
    return {f"front.{name}": tuple(x.shape) for name, x in front.items()} | {
        f"gpt2.{name}": shape for name, shape in oracle_gpt2.shapes(gpt2).items()
    }


def run(
    config: dict,
    gpt2: dict,
    tensors: dict[str, np.ndarray],
    streams: list[tuple[np.ndarray, ...]],
    *,
    n_tokens: int,
    dtype: str,
) -> dict[str, np.ndarray]:
    """Of every clip `i` alone, without its absent tokens: `embeds_i`, `mask_i`, and `loa_i`.

    `official_i` is the official roll-out of up to 8: the whole sequence again for every token.
    """
    kind = getattr(torch, dtype)
    front = AudioLDM2ProjectionModel.from_config(config).to(kind)
    state = {name: torch.tensor(x) for name, x in part(tensors, "front.").items()}
    front.load_state_dict(state, strict=True)
    model = oracle_gpt2.build(gpt2, part(tensors, "gpt2."), dtype=dtype)
    pipeline = types.SimpleNamespace(language_model=model)
    outputs = {}
    for i in range(len(streams[0][0])):
        states, masks = zip(
            *(
                (
                    torch.tensor(x[i : i + 1, present[i]], dtype=kind),
                    torch.tensor(mask[i : i + 1, present[i]]).long(),
                )
                for x, mask, present in streams
            ),
            strict=True,
        )
        with torch.inference_mode(), oracle_gpt2.default_dtype(dtype):
            joined = front(
                hidden_states=states[0],
                hidden_states_1=states[1],
                attention_mask=masks[0],
                attention_mask_1=masks[1],
            )
            loa = AudioLDM2Pipeline.generate_language_model(
                pipeline,
                joined.hidden_states,
                attention_mask=joined.attention_mask,
                max_new_tokens=n_tokens,
            )
            official = _recomputed(
                model, joined.hidden_states, joined.attention_mask, min(n_tokens, 8)
            )
        found = {
            "embeds": joined.hidden_states,
            "mask": joined.attention_mask,
            "loa": loa,
            "official": official,
        }
        outputs |= {f"{name}_{i}": x[0].numpy() for name, x in found.items()}
    return outputs


def _recomputed(model, embeds: torch.Tensor, mask: torch.Tensor, n_tokens: int) -> torch.Tensor:
    length = embeds.shape[1]
    for _ in range(n_tokens):
        states = model(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
        embeds = torch.cat([embeds, states[:, -1:]], dim=1)
        mask = torch.cat([mask, mask.new_ones((len(mask), 1))], dim=1)
    return embeds[:, length:]
