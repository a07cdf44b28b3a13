"""A small CLAP in training: sizes, weights, a batch and what SpecAugment hides of it. No torch."""

import numpy as np

from ldm_jax.models.clap import CLAP
from ldm_jax.models.htsat import HTSAT
from ldm_jax.models.roberta import RoBERTa
from tests.golden import random_array

FRAMES = 251
TEXT = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 24,
    "type_vocab_size": 1,
    "pad_token_id": 1,
    "layer_norm_eps": 1e-5,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}
AUDIO = {
    "spec_size": 64,
    "embed_dim": 16,
    "depths": [2, 1],  # the second block is shifted
    "num_heads": [2, 4],
    "window_size": 4,
    "mlp_ratio": 2.0,
    "drop_path_rate": 0.1,
}
MELS, DIM = 16, 12
NETWORK = CLAP(
    text=RoBERTa(
        vocab_size=50,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        intermediate_size=48,
        max_position_embeddings=24,
    ),
    audio=HTSAT(
        embed_dim=16,
        depths=(2, 1),
        num_heads=(2, 4),
        window=4,
        image_size=64,
        num_mels=MELS,
        mlp_ratio=2.0,
    ),
    projection_dim=DIM,
)

SMALLEST = CLAP(
    text=RoBERTa(
        vocab_size=50,
        hidden_size=8,
        num_layers=1,
        num_heads=2,
        intermediate_size=16,
        max_position_embeddings=24,
    ),
    audio=HTSAT(
        embed_dim=8,
        depths=(1,),
        num_heads=(2,),
        window=4,
        image_size=64,
        num_mels=MELS,
        patch_size=8,
        mlp_ratio=2.0,
    ),
    projection_dim=DIM,
)


def batch(rows: int = 4) -> dict[str, np.ndarray]:
    """Captions of different lengths and clips that differ."""
    lengths = np.resize([20, 7, 2, 11, 5, 9, 14, 3], rows)
    ids = np.random.RandomState(0).randint(4, TEXT["vocab_size"], (rows, 20))
    mask = np.arange(20)[None, :] < lengths[:, None]
    features = random_array("features", (rows, FRAMES, MELS))
    features = 2 * (features + random_array("envelopes", (rows, 1, MELS))) - 3
    return {
        "clap_ids": np.where(mask, ids, TEXT["pad_token_id"]).astype(np.int32),
        "clap_mask": mask,
        "clap_audio": features.astype(np.float32).astype(np.float64),
    }


def kept(rows: int = 4) -> np.ndarray:
    """False in one stripe of time and one of bands, others in each row."""
    row = np.arange(rows)[:, None]
    frame, mel = np.arange(FRAMES)[None, :], np.arange(MELS)[None, :]
    in_time = (frame >= 40 * row + 5) & (frame < 60 * row + 20)
    in_mel = (mel >= 3 * row) & (mel < 4 * row + 2)
    return ~(in_time[:, :, None] | in_mel[:, None, :])
