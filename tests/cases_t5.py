"""T5 encoders for the tests: configs as published, small ones, and their inputs. No torch."""

import numpy as np

from tests.golden import random_tensors

PUBLISHED = {  # google/flan-t5-large as AudioLDM 2 ships it
    "architectures": ["T5EncoderModel"],
    "model_type": "t5",
    "is_encoder_decoder": True,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "vocab_size": 32128,
    "d_model": 1024,
    "d_kv": 64,
    "d_ff": 2816,
    "num_layers": 24,
    "num_heads": 16,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "feed_forward_proj": "gated-gelu",
    "layer_norm_epsilon": 1e-6,
}
PUBLISHED_PARAMETERS = 341_231_104

TINY = {
    "gated": PUBLISHED
    | {
        "vocab_size": 60,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 48,
        "num_layers": 2,
        "num_heads": 4,
        "relative_attention_max_distance": 30,  # less than the sequence: the last bucket fills
    },
    "relu": PUBLISHED
    | {
        "vocab_size": 50,
        "d_model": 24,
        "d_kv": 6,
        "d_ff": 40,
        "num_layers": 2,
        "num_heads": 3,  # 3 * 6 is not 24
        "relative_attention_num_buckets": 16,
        "relative_attention_max_distance": 20,
        "feed_forward_proj": "relu",
        "layer_norm_epsilon": 1e-3,
    },
}

BUCKETS = ((32, 128), (32, 30), (16, 20), (8, 16))  # (num_buckets, max_distance)
OFFSETS = np.arange(-300, 301)


def inputs(config: dict, *, length: int = 40) -> dict[str, np.ndarray]:
    """Three rows: full, padded at the end, and a single token."""
    random = np.random.RandomState(0)
    ids = random.randint(0, config["vocab_size"], (3, length))
    mask = np.arange(length)[None, :] < np.array([length, length // 3, 1])[:, None]
    return {"token_ids": np.where(mask, ids, 0).astype(np.int32), "mask": mask}


def weights(config: dict, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Random tensors as a trained T5's: q holds the scale of the scores, tables have size 1."""
    tensors = random_tensors(shapes)
    for name, tensor in tensors.items():
        if name.endswith("SelfAttention.q.weight"):
            tensor *= np.float32(config["d_kv"] ** -0.5)
        elif name in ("shared.weight", "encoder.embed_tokens.weight"):
            tensor *= np.float32(config["d_model"] ** 0.5)
        elif "relative_attention_bias" in name:
            tensor *= np.float32(config["num_heads"] ** 0.5)
        tensor[...] = tensor.astype(np.float32)
    return tensors
