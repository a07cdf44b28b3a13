"""The smallest decoder, vocoder and CLAP, with random weights: what takes long is to compile them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ldm_jax.convert.random_checkpoint import random_params
from ldm_jax.models.clap import CLAP
from ldm_jax.models.htsat import HTSAT
from ldm_jax.models.roberta import RoBERTa
from ldm_jax.models.vae import VAE
from ldm_jax.models.vocoder import HiFiGAN
from ldm_jax.pipeline.networks import with_dtype
from tests.golden import random_array

RATE = 8_000
FRAMES, MELS, CHANNELS, HOP = 48, 16, 4, 48  # one level: as many latents as bands
IDS = np.array([[5, 6, 7, 2], [8, 2, 1, 1], [9, 9, 2, 1], [4, 2, 1, 1]], np.int32)


def networks(dtype: Any = jnp.float32) -> dict[str, Any]:
    """`vae`, `vocoder` and `clap`; waves have FRAMES HOP samples."""
    text = RoBERTa(vocab_size=10, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=16)
    audio = HTSAT(embed_dim=8, depths=(1,), num_heads=(2,))
    made = {
        "vae": VAE((8,), CHANNELS, 1, 4, 0.5),
        "vocoder": HiFiGAN(MELS, 8, (8, 6), (16, 12), (3,), ((1,),)),
        "clap": CLAP(text=text, audio=audio, projection_dim=8),
    }
    return {name: with_dtype(module, dtype) for name, module in made.items()}


@functools.cache
def params() -> dict[str, Any]:
    """In float32."""
    made = {name: random_params(it, name=name, seed=0) for name, it in networks().items()}
    return jax.tree.map(jnp.asarray, made)


def arrays(clips: int, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """`latents` and `target`, near each other; `sound`, true waves; `ids` and `mask` of captions."""
    latents = random_array("latents", (clips, FRAMES, MELS, CHANNELS))
    target = latents + 0.3 * random_array("step", latents.shape)
    sound = 0.1 * random_array("sound", (clips, FRAMES * HOP))
    named = {"latents": latents, "target": target, "sound": sound}
    ids = np.resize(IDS, (clips, IDS.shape[1]))
    return {name: x.astype(dtype) for name, x in named.items()} | {"ids": ids, "mask": ids != 1}


def abstract(tree: Any) -> Any:
    """The shapes and types of arrays."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
