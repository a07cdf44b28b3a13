"""Layers with LoRA and their inputs, channels last. No torch."""

import numpy as np

from tests.golden import random_array

RANK, ALPHA = 3, 7.0
LAYERS = {  # window, channels in, channels out
    "linear": ((), 6, 5),
    "conv_1x1": ((1, 1), 4, 6),
    "conv_3x3": ((3, 3), 4, 6),
    "conv_7": ((7,), 4, 5),
}


def shapes(window: tuple[int, ...], before: int, after: int) -> dict[str, tuple[int, ...]]:
    """In PyTorch's layouts and PEFT's names."""
    point = (1,) * len(window)
    return {
        "base_layer.weight": (after, before, *window),
        "lora_A.weight": (RANK, before, *window),
        "lora_B.weight": (after, RANK, *point),
    }


def inputs(name: str) -> np.ndarray:
    window, before, _ = LAYERS[name]
    return random_array(f"input {name}", (2, *(8 for _ in window), before))
