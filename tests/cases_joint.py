"""Stages of translator and diffusion model for the tests: tiny networks, a batch, what chance decided. No torch."""

import numpy as np

from tests import cases_gpt2, cases_phoneme_encoder, cases_translator, cases_unet
from tests.golden import random_array, random_tensors

WIDTH, TEXT, GRID, SCALE = 24, 10, (8, 2), 0.41
_TINY = cases_unet.TINY["t5"] | {
    "block_out_channels": [8],
    "down_block_types": ["CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D"],
}
UNETS = {
    "base": _TINY | {"cross_attention_dim": [[None, WIDTH, TEXT]]},
    "speech": _TINY | {"cross_attention_dim": [[None, WIDTH]]},
}
GPT2 = cases_gpt2.TINY["default"]
PHONEMES = cases_phoneme_encoder.TINY["plain"]
FRONTS = {
    "base": cases_translator.TINY["base"],
    "speech": cases_translator.TINY["speech"]
    | {"text_encoder_1_dim": PHONEMES["hidden_size"], "max_seq_length": 9},
}
# name: (stage, its settings, what was drawn for the whole batch)
CASES = {
    "l1": ("translator", {"penalty": "l1"}, {}),
    "mse": ("translator", {"penalty": "mse"}, {}),
    "ahead": ("translator", {"teacher_weight": 1.0, "ahead_weight": 1.0}, {"start": 1, "steps": 2}),
    "ahead_all": ("translator", {"teacher_weight": 0.0, "ahead_weight": 1.0}, {"start": 0, "steps": 4}),
    "pretraining": ("diffusion", {"captions": False, "time_pools": (1, 2, 4)}, {"pool": 1}),
    "captions": ("diffusion", {}, {"drop": False}),
    "unconditional": ("diffusion", {}, {"drop": True}),
    "true": ("joint", {}, {"drop": False, "true": True}),
    "made_up": ("joint", {}, {"drop": False, "true": False}),
    "dropped": ("joint", {}, {"drop": True, "true": False}),
    "min_snr_v": (
        "diffusion",
        {"prediction": "v", "weighting": "min_snr:gamma=5"},
        {"drop": False},
    ),
    "speech": ("joint", {"ground_truth": 0.25}, {"drop": False, "true": False}),
}  # fmt: skip


def kind(name: str) -> str:
    """Which UNet and translator."""
    return "speech" if name == "speech" else "base"


def batch() -> dict[str, np.ndarray]:
    """Encodings of three clips, float64, with as many tokens of text as differ; and phonemes."""
    lengths = np.array([7, 4, 1])
    mask = np.arange(7)[None, :] < lengths[:, None]
    moments = random_array("moments", (3, 8, 4, 6))
    moments[..., 3:] = np.abs(moments[..., 3:])
    phonemes = np.arange(9)[None, :] < np.array([9, 5, 1])[:, None]
    return {
        "latents": moments,
        "loa": random_array("loa", (3, GRID[0] * GRID[1], WIDTH)),
        "t5": random_array("t5", (3, 7, TEXT)) * mask[:, :, None],
        "t5_mask": mask,
        "clap_text": random_array("clap", (3, 6)),
        "empty_t5": np.broadcast_to(random_array("empty", (1, 1, TEXT)), (3, 1, TEXT)),
        "phoneme_ids": np.where(phonemes, 1 + np.arange(27).reshape(3, 9) % 9, 0),
        "phoneme_mask": phonemes,
    }


def noises() -> dict[str, np.ndarray]:
    """Of the posterior and of the diffusion, and its timesteps."""
    return {
        "posterior": random_array("posterior", (3, 8, 4, 3)),
        "noise": random_array("noise", (3, 8, 4, 3)),
        "timesteps": np.array([3, 420, 997]),
    }


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Random tensors of "unet.NAME", "gpt2.NAME", "translator.NAME" and "phoneme_encoder.NAME"."""
    of = {
        network: {k.removeprefix(f"{network}."): v for k, v in shapes.items() if k.startswith(f"{network}.")}
        for network in ("unet", "gpt2", "translator", "phoneme_encoder")
    }  # fmt: skip
    front = random_tensors(of["translator"])
    for name, tensor in front.items():
        if "s_embed" in name:
            tensor *= 10
    unet = cases_unet.tensors(of["unet"])
    for name, tensor in unet.items():
        # Softmaxes of large numbers would magnify float32's rounding beyond the tests' bounds.
        if ".to_q." in name:
            tensor *= 0.25
    made = {
        "unet": unet,
        "gpt2": cases_gpt2.weights(of["gpt2"]),
        "translator": front,
        "phoneme_encoder": cases_phoneme_encoder.weights(PHONEMES, of["phoneme_encoder"]),
    }
    return {f"{network}.{k}": x for network, tensors in made.items() for k, x in tensors.items()}


def summary(gradients: dict[str, np.ndarray], name: str) -> np.ndarray:
    """(norm, product with a random direction) of one network's gradients, tensor by tensor in the order of names."""
    gradients = {key.removeprefix("text_encoder."): x for key, x in gradients.items()}
    return np.array(
        [
            (np.linalg.norm(x), float(np.sum(x * random_array(f"direction.{name}.{key}", x.shape))))
            for key, x in sorted(gradients.items())
        ]
    )
