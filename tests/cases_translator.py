"""Translators for the tests: configs as published, small ones, and their streams. No torch."""

import numpy as np

from tests import cases_gpt2
from tests.golden import random_array, random_tensors

PUBLISHED = {
    "base": {
        "_class_name": "AudioLDM2ProjectionModel",
        "text_encoder_dim": 512,
        "text_encoder_1_dim": 1024,
        "langauge_model_dim": 768,  # misspelt as published
        "use_learned_position_embedding": None,
        "max_seq_length": None,
    },
    "speech": {
        "_class_name": "AudioLDM2ProjectionModel",
        "text_encoder_dim": 512,
        "text_encoder_1_dim": 192,
        "langauge_model_dim": 768,
        "use_learned_position_embedding": True,
        "max_seq_length": 310,
    },
}
PUBLISHED_PARAMETERS = {"base": 1_184_256, "speech": 604_800}

TINY = {
    "base": PUBLISHED["base"]
    | {"text_encoder_dim": 6, "text_encoder_1_dim": 10, "langauge_model_dim": 24},
    "speech": PUBLISHED["speech"]
    | {
        "text_encoder_dim": 6,
        "text_encoder_1_dim": 8,
        "langauge_model_dim": 24,
        "max_seq_length": 9,
    },
}
GPT2 = cases_gpt2.TINY["default"]
N_TOKENS = 6


def streams(config: dict, *, length: int = 9) -> list[tuple[np.ndarray, ...]]:
    """(states, mask, present) of three clips: one CLAP token, and up to `length` of text.

    The rows have a full text, a short one of which the last tokens are masked, and a single token.
    Speech has no absent tokens: its masked ones keep their positions.
    """
    clap = random_array("clap", (3, 1, config["text_encoder_dim"]))
    text = random_array("text", (3, length, config["text_encoder_1_dim"]))
    column = np.arange(length)[None, :]
    present = column < np.array([length, length // 2 + 1, 1])[:, None]
    mask = column < np.array([length, length // 2 - 1, 1])[:, None]
    if config["use_learned_position_embedding"]:
        present = np.ones_like(present)
    one = np.ones((3, 1), bool)
    return [(clap, one, one), (text, mask, present)]


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Random tensors of "front.NAME" and "gpt2.NAME", all tokens of about the same size."""
    tensors = random_tensors(shapes)
    for name, tensor in tensors.items():
        if name.startswith("front.") and "s_embed" in name:
            tensor *= 10
    return tensors | cases_gpt2.weights(
        {name: shape for name, shape in shapes.items() if name.startswith("gpt2.")}, prefix="gpt2."
    )


def part(tensors: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The tensors below `prefix`, without it."""
    return {name[len(prefix) :]: x for name, x in tensors.items() if name.startswith(prefix)}
