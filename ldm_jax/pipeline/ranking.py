"""Choosing among candidates: the cosine of CLAP's embeddings of clip and prompt."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import soxr
from jaxtyping import Array, Float

from ldm_jax.audio.clap_features import clap_features, clap_fusion_features
from ldm_jax.pipeline.conditioning import Tokens, encode_clap
from ldm_jax.pipeline.networks import AllParams, Networks, run

CLAP_RATE = 48_000


@functools.partial(jax.jit, static_argnames=("networks",))
def _similarity(
    networks: Networks, params: AllParams, tokens: Tokens, features: Array, is_longer: Array | None
) -> Float[Array, "prompts candidates"]:
    text = encode_clap(networks, params, tokens)
    assert text is not None
    audio = run(networks.clap, params["clap"], features, is_longer, method="embed_audio")
    return jnp.einsum("pd,pnd->pn", text, audio.reshape(text.shape[0], -1, text.shape[1]))


def score(
    networks: Networks,
    params: AllParams,
    tokens: Tokens,
    audio: Float[np.ndarray, "rows samples"],
    sample_rate: int,
    *,
    padding: str,
) -> Float[np.ndarray, "prompts candidates"]:
    """Cosine of every clip with its prompt; rows of `audio` are candidates of the first prompt, then of the next.

    The clips are resampled to CLAP's 48 kHz by soxr, as librosa does for diffusers.
    """
    waves = soxr.resample(audio.T, sample_rate, CLAP_RATE, quality="HQ").T
    assert networks.clap is not None
    longer = None
    if networks.clap.audio.fusion:
        features, longer = clap_fusion_features(waves)
    else:
        features = clap_features(waves, padding=padding)
    return np.asarray(_similarity(networks, params, tokens, features, longer), np.float32)
