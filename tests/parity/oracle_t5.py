"""transformers' T5EncoderModel on given weights."""

import contextlib
from unittest import mock

import numpy as np
import torch
from transformers import T5Config, T5EncoderModel
from transformers.models.t5.modeling_t5 import T5Attention, T5LayerNorm


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = T5EncoderModel(T5Config.from_dict(config))
    return {
        name: tuple(tensor.shape)
        for name, tensor in model.state_dict().items()
        if name != "encoder.embed_tokens.weight"  # tied
    }


def run(
    config: dict, tensors: dict[str, np.ndarray], inputs: dict[str, np.ndarray], *, dtype: str
) -> dict[str, np.ndarray]:
    with torch.device("meta"):
        model = T5EncoderModel(T5Config.from_dict(config))
    kind = getattr(torch, dtype)
    state = {name: torch.tensor(tensor, dtype=kind) for name, tensor in tensors.items()}
    state.setdefault("encoder.embed_tokens.weight", state["shared.weight"])
    model.load_state_dict(state, strict=True, assign=True)
    ids, mask = torch.from_numpy(inputs["token_ids"]).long(), torch.from_numpy(inputs["mask"])
    with torch.inference_mode(), _no_float32():
        states = model.eval()(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return {"states": states.numpy()}


def bucket(offset: np.ndarray, *, num_buckets: int, max_distance: int) -> np.ndarray:
    return T5Attention._relative_position_bucket(
        torch.from_numpy(offset), True, num_buckets, max_distance
    ).numpy()


@contextlib.contextmanager
def _no_float32():
    """The peer takes norm statistics and softmax in float32 even where all else is float64.

    Here these two places keep the type they are given, which changes nothing in a float32 run.
    """

    def norm(self: T5LayerNorm, states: torch.Tensor) -> torch.Tensor:
        variance = states.pow(2).mean(-1, keepdim=True)
        return self.weight * (states * torch.rsqrt(variance + self.variance_epsilon))

    def to_float(tensor: torch.Tensor) -> torch.Tensor:
        return tensor if tensor.dtype == torch.float64 else tensor.to(torch.float32)

    with (
        mock.patch.object(T5LayerNorm, "forward", norm),
        mock.patch.object(torch.Tensor, "float", to_float),
    ):
        yield
