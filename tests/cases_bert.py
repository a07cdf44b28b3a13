"""BERT encoders for the tests: MiniLM's config, a small one, and their inputs. No torch."""

import numpy as np

PUBLISHED = {  # sentence-transformers/all-MiniLM-L6-v2
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "pad_token_id": 0,
    "vocab_size": 30_522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}
PUBLISHED_PARAMETERS = 22_565_376  # without the pooler's 147,840

TINY = PUBLISHED | {
    "vocab_size": 60,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 40,
}


def inputs(*, length: int = 40) -> dict[str, np.ndarray]:
    """Three rows: full, padded at the end, and a single token."""
    random = np.random.RandomState(0)
    ids = random.randint(0, TINY["vocab_size"], (3, length))
    mask = np.arange(length)[None, :] < np.array([length, length // 3, 1])[:, None]
    return {"token_ids": np.where(mask, ids, 0).astype(np.int32), "mask": mask}
