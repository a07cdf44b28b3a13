"""Vocos networks for the tests: the authors' settings, their names of our parameters, and inputs. No torch."""

import numpy as np

from ldm_jax.convert.rules import CONV1D, LINEAR, Rule, Table
from ldm_jax.models.vocos import Vocos
from tests.golden import random_array, random_tensors

PUBLISHED = {  # widths of charactr/vocos-mel-24khz, whose frames are centred; here, as in its paper, they tile the clip
    "input_channels": 100,
    "dim": 512,
    "intermediate_dim": 1536,
    "num_layers": 8,
    "n_fft": 1024,
    "hop_length": 256,
}
PUBLISHED_PARAMETERS = 13_531_650

TINY = {
    "even": {
        "input_channels": 6,
        "dim": 12,
        "intermediate_dim": 20,
        "num_layers": 2,
        "n_fft": 64,
        "hop_length": 16,
    },
    "uneven": {  # a window of more than three frames and less than four
        "input_channels": 5,
        "dim": 8,
        "intermediate_dim": 11,
        "num_layers": 3,
        "n_fft": 40,
        "hop_length": 12,
    },
}

_BLOCK, _BLOCK_PATH = "backbone.convnext.{i}", "convnext_{i}"
TABLE = Table(
    rules=(
        Rule("backbone.embed.weight", "embed/kernel", CONV1D),
        Rule("backbone.embed.bias", "embed/bias"),
        Rule("backbone.norm.weight", "norm/scale"),
        Rule("backbone.norm.bias", "norm/bias"),
        Rule(f"{_BLOCK}.dwconv.weight", f"{_BLOCK_PATH}/dwconv/kernel", CONV1D),
        Rule(f"{_BLOCK}.dwconv.bias", f"{_BLOCK_PATH}/dwconv/bias"),
        Rule(f"{_BLOCK}.norm.weight", f"{_BLOCK_PATH}/norm/scale"),
        Rule(f"{_BLOCK}.norm.bias", f"{_BLOCK_PATH}/norm/bias"),
        Rule(f"{_BLOCK}.pwconv{{n}}.weight", f"{_BLOCK_PATH}/pwconv{{n}}/kernel", LINEAR),
        Rule(f"{_BLOCK}.pwconv{{n}}.bias", f"{_BLOCK_PATH}/pwconv{{n}}/bias"),
        Rule(f"{_BLOCK}.gamma", f"{_BLOCK_PATH}/gamma"),
        Rule("backbone.final_layer_norm.weight", "final_layer_norm/scale"),
        Rule("backbone.final_layer_norm.bias", "final_layer_norm/bias"),
        Rule("head.out.weight", "out/kernel", LINEAR),
        Rule("head.out.bias", "out/bias"),
    )
)


def network(config: dict) -> Vocos:
    return Vocos(
        config["input_channels"],
        features=config["dim"],
        hidden=config["intermediate_dim"],
        layers=config["num_layers"],
        n_fft=config["n_fft"],
        hop=config["hop_length"],
    )


def inputs(config: dict, *, frames: int = 9) -> dict[str, np.ndarray]:
    """Channels last."""
    return {"mel": random_array("mel", (2, frames, config["input_channels"]))}


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Random tensors under which every block counts, phases wrap, and some magnitudes are cut off."""
    tensors = random_tensors(shapes)
    for name, tensor in tensors.items():
        if name.endswith("gamma"):
            tensor *= 5
        elif name == "head.out.weight":
            tensor *= 2
    return tensors
