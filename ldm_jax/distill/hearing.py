"""From the diffusion model's latents to what CLAP hears, differentiably: decoder, HiFi-GAN, resampling, CLAP.

Networks and their parameters are mappings by the names "vae", "vocoder" and "clap", of which a function needs those it
is named after. The networks stay as they are; what they return is in at least float32.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Bool, Float, Int

from ldm_jax.audio.clap_features import SAMPLE_RATE, clap_features
from ldm_jax.audio.sinc_resampling import KAISER_BEST, sinc_resample
from ldm_jax.models.layers import upcast

Networks = Mapping[str, nn.Module]
AllParams = Mapping[str, Any]


def waves_of(
    networks: Networks,
    params: AllParams,
    latents: Float[Array, "batch time freq channels"],
    *,
    centred: bool = False,
) -> Float[Array, "batch samples"]:
    """The waves of latents: `waves_of_mel` of `mel_of`."""
    return waves_of_mel(networks, params, mel_of(networks, params, latents), centred=centred)


def mel_of(
    networks: Networks, params: AllParams, latents: Float[Array, "batch time freq channels"]
) -> Float[Array, "batch frames mels"]:
    """Natural-log mel spectrograms of latents, by the VAE's decoder."""
    vae: Any = networks["vae"]
    return upcast(
        _apply(vae, params["vae"], latents.astype(vae.dtype), method="decode_scaled")[..., 0]
    )


def waves_of_mel(
    networks: Networks,
    params: AllParams,
    mel: Float[Array, "batch frames mels"],
    *,
    centred: bool = False,
) -> Float[Array, "batch samples"]:
    """The vocoder's waves.

    Args:
        networks: see above.
        params: of the networks.
        mel: natural-log mel spectrograms.
        centred: whether a wave is moved so that its extremes are opposite. ConsistencyTTA moves all waves of a batch
            alike, by the extremes of all; a clip's wave then hangs on the others.
    """
    vocoder: Any = networks["vocoder"]
    waves = upcast(_apply(vocoder, params["vocoder"], mel.astype(vocoder.dtype)))
    if centred:
        highest, lowest = waves.max(axis=-1, keepdims=True), waves.min(axis=-1, keepdims=True)
        waves = waves - (highest + lowest) / 2
    return waves


def clap_embedding_of(
    networks: Networks, params: AllParams, waves: Float[Array, "batch samples"], *, rate: int
) -> Float[Array, "batch dim"]:
    """CLAP's unit vectors of waves: resampled to 48 kHz, cut or repeated to 10 s.

    LAION's wrapper rounds waves to 16 bits first, which has no gradient; given tensors, as ConsistencyTTA does, it
    does not, nor does this.

    Args:
        networks: see above.
        params: of the networks.
        waves: mono. Cut them to 10 s before: what follows would reach into the last 4 ms.
        rate: of the waves in Hz.

    Raises:
        ValueError: a tower with fusion.
    """
    clap: Any = networks["clap"]
    if clap.audio.fusion:
        raise ValueError(
            "CLAP's audio tower has fusion, which is for clips of more than 10 s; take one without"
        )
    features = clap_features(sinc_resample(waves, rate, SAMPLE_RATE, **KAISER_BEST))
    return _apply(clap, params["clap"], features, method="embed_audio")


def text_embedding_of(
    networks: Networks,
    params: AllParams,
    token_ids: Int[Array, "batch length"],
    mask: Bool[Array, "batch length"],
) -> Float[Array, "batch dim"]:
    """CLAP's unit vectors of texts."""
    return _apply(networks["clap"], params["clap"], token_ids, mask, method="embed_text")


def in_groups(function: Callable[..., Any], *clips: Any, chunk: int) -> Any:
    """`function` of `chunk` clips at a time, one group after the other, its results in the clips' order.

    A group's clips lie batch / chunk apart: where rows are divided among devices, each device has its share of every
    group if their number divides `chunk`.

    Args:
        function: of trees of arrays whose rows are clips, to such a tree.
        *clips: its arguments for all clips.
        chunk: clips at once, on all devices together.

    Raises:
        ValueError: a number of clips that `chunk` does not divide.
    """
    batch = len(jax.tree.leaves(clips)[0])
    if batch % chunk:
        raise ValueError(f"{batch} clips cannot be heard {chunk} at a time: chunk has to divide")
    groups = batch // chunk
    if groups == 1:
        return function(*clips)

    def parted(x: Array) -> Array:
        return x.reshape(chunk, groups, *x.shape[1:]).swapaxes(0, 1)

    def joined(x: Array) -> Array:
        return x.swapaxes(0, 1).reshape(batch, *x.shape[2:])

    found = jax.lax.map(lambda group: function(*group), jax.tree.map(parted, clips))
    return jax.tree.map(joined, found)


def _apply(network: Any, params: Any, *inputs: Any, method: str | None = None) -> Any:
    return network.apply({"params": params}, *inputs, method=method)
