"""Configurations, weights and inputs on which AudioMAE is compared."""

import jax
import jax.numpy as jnp
import numpy as np

from ldm_jax.models.audiomae import AudioMAE
from tests.golden import random_array, random_tensors

_TINY = {
    "img_size": (64, 32),
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 4,
    "heads": 4,
    "decoder_dim": 24,
    "decoder_heads": 4,
    "decoder_depth": 2,  # of which the second is shifted
}
CASES = {"vit": {**_TINY, "decoder": "vit"}, "swin": {**_TINY, "decoder": "swin"}}

# Arguments of facebookresearch/AudioMAE's mae_vit_base_patch16_dec512d8b, as AudioLDM 2 ("vit") and
# its pretraining ("swin") give them.
_BASE = {
    "img_size": [1024, 128],
    "patch_size": 16,
    "in_chans": 1,
    "audio_exp": True,
    "embed_dim": 768,
    "depth": 12,
    "num_heads": 12,
    "mlp_ratio": 4,
    "decoder_embed_dim": 512,
    "decoder_num_heads": 16,
}
PUBLISHED = {"vit": {**_BASE, "decoder_mode": 0}, "swin": {**_BASE, "decoder_mode": 1}}
PARAMETERS = {"vit": 111_656_448, "swin": 136_992_768}  # counted on the published class
ENCODER_PARAMETERS = 85_648_128
MASK_RATIO = 0.7


def module(name: str, **changes) -> AudioMAE:
    return AudioMAE(**{**CASES[name], **changes})


def expected(module: AudioMAE):
    """Shapes of our parameters."""
    fbank = jnp.zeros((1, *module.img_size))
    return jax.eval_shape(module.init, jax.random.key(0), fbank)["params"]


def tensors(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Random weights that keep a signal; of the temperatures one lies under its bound."""
    weights = random_tensors(shapes, gain=1.5)
    for name, x in weights.items():
        if name.endswith(".tau"):
            weights[name] = np.resize(np.float32([0.004, 0.2, 1.0, 0.03]), x.shape).astype(float)
        elif name in ("patch_embed.proj.weight", "decoder_embed.weight"):
            x /= np.sqrt(np.prod(x.shape[1:]))
            weights[name] = x.astype(np.float32).astype(float)
    return weights


def inputs(img_size: tuple[int, int], patch_size: int, batch: int = 2) -> dict[str, np.ndarray]:
    """A filter bank and a masking made from random scores."""
    patches = img_size[0] * img_size[1] // patch_size**2
    noise = random_array("noise", (batch, patches))
    shuffled = np.argsort(noise, axis=1)
    restore = np.argsort(shuffled, axis=1)
    kept = int(patches * (1 - MASK_RATIO))
    fbank = random_array("fbank", (batch, *img_size)).astype(np.float32).astype(float)
    return {
        "fbank": fbank,
        "noise": noise,
        "keep_ids": shuffled[:, :kept],
        "restore_ids": restore,
        "mask": (restore >= kept).astype(float),
    }
