"""VITS text encoders for the tests: configs as published, small ones, and inputs. No torch."""

import numpy as np

from tests.golden import random_tensors

PUBLISHED = {  # text_encoder_2 of AudioLDM 2's speech models, the keys that shape the text encoder
    "architectures": ["VitsModel"],
    "model_type": "vits",
    "hidden_act": "relu",
    "use_bias": True,
    "vocab_size": 183,
    "hidden_size": 192,
    "num_hidden_layers": 6,
    "num_attention_heads": 2,
    "ffn_dim": 768,
    "ffn_kernel_size": 3,
    "window_size": 4,
    "layer_norm_eps": 1e-5,
}
PUBLISHED_PARAMETERS = 183 * 192 + 6 * (  # the symbols, and in each layer
    4 * (192 * 192 + 192) + 2 * 9 * 96  # projections and distances of the attention,
    + 2 * 3 * 192 * 768 + 768 + 192  # the two convolutions,
    + 4 * 192  # and the norms
)  # fmt: skip

SMALL = PUBLISHED | {"vocab_size": 40, "hidden_size": 24, "ffn_dim": 40, "num_hidden_layers": 2}
TINY = {
    "plain": SMALL,
    "window": SMALL  # more distances than the sequence has, three heads, an even kernel
    | {"num_attention_heads": 3, "window_size": 30, "ffn_kernel_size": 4, "layer_norm_eps": 1e-3},
    "pointwise": SMALL | {"window_size": 1, "ffn_kernel_size": 1},
}


def inputs(config: dict, *, length: int = 25) -> dict[str, np.ndarray]:
    """Three rows: full, padded at the end, and a single phoneme."""
    random = np.random.RandomState(0)
    ids = random.randint(1, config["vocab_size"], (3, length))
    mask = np.arange(length)[None, :] < np.array([length, length // 3, 1])[:, None]
    return {"token_ids": np.where(mask, ids, 0).astype(np.int32), "mask": mask}


def weights(config: dict, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Random tensors under which position matters: embeddings of distance as large as keys."""
    tensors = random_tensors(shapes)
    for name, tensor in tensors.items():
        if name.endswith(("embed_tokens.weight", "emb.weight")):  # scaled up again by the encoder
            tensor *= config["hidden_size"] ** -0.5
        elif "emb_rel" in name:
            tensor *= np.sqrt(np.prod(tensor.shape[1:]))
        tensor[...] = tensor.astype(np.float32)
    return tensors
