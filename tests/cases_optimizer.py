"""Trajectories of optimisers: a few parameters down gradients that are given, update after update. No torch."""

import numpy as np

from tests.golden import random_array

UPDATES = 24
# Names as in a network, so that a mask by path has something to tell apart.
SHAPES = {"unet/dense/kernel": (3, 4), "unet/dense/bias": (4,), "unet/norm/scale": (4,)}
CLIP = 1.5  # of about half the gradients

# What PyTorch and we are told, case by case: (PyTorch's optimiser and its options, its schedule, our fields).
CASES = {
    # AudioLDM 2: defaults of AdamW, linear warm-up.
    "adamw_warmup": (
        ("AdamW", {"lr": 1e-2}),
        ("warmup", {"steps": 6}),
        {"kind": "adamw", "learning_rate": 1e-2, "warmup_steps": 6, "decayed": "all"},
    ),
    # AudioMAE: half a cosine after the warm-up.
    "adamw_cosine": (
        ("AdamW", {"lr": 3e-2, "betas": (0.9, 0.95), "weight_decay": 0.1}),
        ("cosine", {"warmup": 4, "final": 0.1}),
        {
            "kind": "adamw",
            "learning_rate": 3e-2,
            "b2": 0.95,
            "weight_decay": 0.1,
            "warmup_steps": 4,
            "schedule": "cosine",
            "final_fraction": 0.1,
            "decayed": "all",
            "clip_norm": CLIP,
        },
    ),
    # HiFi-GAN and the translator: StepLR.
    "adamw_step": (
        ("AdamW", {"lr": 1e-2, "betas": (0.8, 0.99)}),
        ("step", {"step_size": 5, "gamma": 0.8}),
        {
            "kind": "adamw",
            "learning_rate": 1e-2,
            "b1": 0.8,
            "b2": 0.99,
            "schedule": "step",
            "decay_steps": 5,
            "decay_rate": 0.8,
            "decayed": "all",
        },
    ),
    # The autoencoder's two players.
    "adam": (
        ("Adam", {"lr": 1e-2, "betas": (0.5, 0.9)}),
        ("exponential", {"gamma": 0.97}),
        {
            "kind": "adam",
            "learning_rate": 1e-2,
            "b1": 0.5,
            "b2": 0.9,
            "weight_decay": 0.0,
            "schedule": "exponential",
            "decay_steps": 1,
            "decay_rate": 0.97,
        },
    ),
    "adam_decay": (
        ("Adam", {"lr": 1e-2, "weight_decay": 0.3}),
        ("linear", {"final": 0.25}),
        {
            "kind": "adam",
            "learning_rate": 1e-2,
            "weight_decay": 0.3,
            "decayed": "all",
            "schedule": "linear",
            "final_fraction": 0.25,
        },
    ),
}


def start() -> dict[str, np.ndarray]:
    return {name: random_array(f"start {name}", shape) for name, shape in SHAPES.items()}


def gradient(update: int) -> dict[str, np.ndarray]:
    """Of sizes that vary from update to update."""
    scale = 0.05 * 4 ** (update % 3)
    return {
        name: scale * random_array(f"gradient {update} {name}", shape)
        for name, shape in SHAPES.items()
    }
