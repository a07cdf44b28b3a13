"""The VAE's losses for the tests: settings, narrow networks and inputs. No torch."""

import numpy as np

from tests import cases_vae
from tests.golden import random_array, random_tensors

VAE = cases_vae.TINY["two_levels"]
PATCHGAN_FEATURES = 4
LPIPS_NARROWING = 16  # of VGG16's 64 to 512 channels
PERCEPTUAL_WEIGHT = 0.7
MEL = (2, 40, 32)

# Keyword arguments of `LPIPSWithDiscriminator`, and the step on which it is asked.
CASES = {
    "heard": {"step": 7, "disc_start": 7, "disc_num_layers": 2},
    "not_heard": {"step": 6, "disc_start": 7, "disc_num_layers": 2},
    "logistic": {
        "step": 0,
        "disc_start": 0,
        "disc_num_layers": 3,
        "disc_loss": "vanilla",
        "logvar_init": 0.25,
        "perceptual_weight": 0.0,
        "disc_weight": 0.8,
        "kl_weight": 10.0,
    },
}
DEFAULTS = {
    "kl_weight": 1000.0,
    "disc_weight": 0.5,
    "disc_in_channels": 1,
    "perceptual_weight": PERCEPTUAL_WEIGHT,
}


def inputs() -> dict[str, np.ndarray]:
    """A log-mel, and the noise of its latents, channels last."""
    noise = (MEL[0], MEL[1] // 2, MEL[2] // 2, VAE["latent_channels"])
    return {"mel": random_array("mel", MEL) - 4.0, "noise": random_array("noise", noise)}


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Of VAE, discriminator and LPIPS in one dictionary; what LPIPS weighs by is positive."""
    tensors = random_tensors(shapes, gain=1.5)
    return {name: np.abs(x) if ".lin" in name else x for name, x in tensors.items()}


def part(tensors: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Those whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}


def probe(gradients: dict[str, np.ndarray]) -> np.ndarray:
    """One number a tensor, in the order of their names: its product with a random tensor."""
    return np.array(
        [
            (np.asarray(x, np.float64) * random_array(f"probe/{name}", x.shape)).sum()
            for name, x in sorted(gradients.items())
        ]
    )
