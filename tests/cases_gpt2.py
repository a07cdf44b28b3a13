"""GPT-2 for the tests: configs as published, small ones, and their inputs. No torch."""

import numpy as np

from tests.golden import random_array, random_tensors

PUBLISHED = {  # gpt2, with the key that AudioLDM 2 adds
    "architectures": ["GPT2Model"],
    "model_type": "gpt2",
    "activation_function": "gelu_new",
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,
    "add_cross_attention": False,
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "n_inner": None,
    "layer_norm_epsilon": 1e-5,
    "embd_pdrop": 0.1,
    "attn_pdrop": 0.1,
    "resid_pdrop": 0.1,
    "max_new_tokens": 8,
}
PUBLISHED_PARAMETERS = 124_439_808

TINY = {
    "default": PUBLISHED
    | {"vocab_size": 11, "n_positions": 40, "n_embd": 24, "n_layer": 2, "n_head": 3},
    "narrow": PUBLISHED
    | {
        "vocab_size": 7,
        "n_positions": 30,
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
        "n_inner": 40,
        "layer_norm_epsilon": 1e-3,
    },
}


def inputs(config: dict, *, length: int = 17) -> dict[str, np.ndarray]:
    """Three rows: nothing masked, a hole, and a hole just before the last five columns."""
    mask = np.ones((3, length), bool)
    mask[1, 3:7] = False
    mask[2, 2:-5] = False
    shuffled = np.random.RandomState(0).permutation(3 * length).reshape(3, -1) % length
    return {
        "embeds": random_array("embeds", (3, length, config["n_embd"])),
        "mask": mask,
        "position_ids": config["n_positions"] - length + shuffled,
    }


def weights(shapes: dict[str, tuple[int, ...]], *, prefix: str = "") -> dict[str, np.ndarray]:
    """Random tensors that suit (in, out) kernels; positions are half the size of the embeddings."""
    tensors = random_tensors(shapes)
    for name, tensor in tensors.items():
        if name == f"{prefix}wpe.weight":
            tensor *= 0.5 * tensor.shape[1] ** 0.5
        elif tensor.ndim == 2 and name.startswith(f"{prefix}h."):
            tensor *= (tensor.shape[1] / tensor.shape[0]) ** 0.5
        tensor[...] = tensor.astype(np.float32)
    return tensors
