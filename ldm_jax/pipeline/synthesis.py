"""Conditioning to sound: latents by a sampler's scan over the UNet, mel by the VAE, wave by the vocoder."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ldm_jax.diffusion.guidance import classifier_free
from ldm_jax.diffusion.sampling import Carry, Plan, normal_per_clip, sample_segment
from ldm_jax.parallel.program import program
from ldm_jax.pipeline.conditioning import Conditioning
from ldm_jax.pipeline.networks import AllParams, Networks, run


@functools.partial(jax.jit, static_argnames=("shape",))
def initial_noise(keys: Key[Array, " rows"], *, shape: tuple[int, ...]) -> Float[Array, "rows ..."]:
    """Standard normal latents of `shape`, a row from its own key."""
    return normal_per_clip(keys, jnp.int32(0), shape, jnp.float32)


@functools.partial(jax.jit, static_argnames=("networks",))
def prepare(
    networks: Networks,
    params: AllParams,
    conditioning: Conditioning,
    timesteps: Float[Array, " calls"],
    guidance_scale: Float[Array, ""] | None = None,
) -> tuple[Any, Any]:
    """What the UNet can compute before the first step.

    Args:
        networks: of the system.
        params: theirs.
        conditioning: a row a clip, or two under guidance.
        timesteps: at which the UNet will be asked.
        guidance_scale: for a UNet that has it as an input; None for the others.

    Returns:
        Keys and values of its cross-attentions, once a clip; its time embeddings, once a call, leading axis `calls`.
    """
    unet, its, film = networks.unet, params["unet"], conditioning.film
    projected = run(unet, its, conditioning.contexts(), method="project_contexts")
    guidance = None
    if guidance_scale is not None:  # one row does for all clips, unless they differ anyhow
        guidance = jnp.broadcast_to(guidance_scale, 1 if film is None else film.shape[0])
    table = run(unet, its, timesteps, film, guidance, method="embed_time")
    return projected, table


@functools.partial(program, static_argnames=("networks", "guided"), donate_argnames=("carry",))
def denoise(
    networks: Networks,
    params: AllParams,
    plan: Plan,
    carry: Carry,
    projected: Any,
    table: Any,
    keys: Key[Array, " rows"] | None,
    guidance_scale: Float[Array, ""],
    *,
    guided: bool,
) -> Carry:
    """Runs the sampler over the calls that `plan` and `table` hold: one scan.

    Guided, the contexts hold every clip twice, unconditional and conditional side by side, and
    eps = eps_u + w (eps_c - eps_u) of the two outputs.
    """
    unet, its = networks.unet, params["unet"]

    def denoiser(latents: Array, timestep: Array, embedding: Any) -> Array:
        output = run(unet, its, latents.astype(unet.dtype), embedding, projected, method="denoise")
        return classifier_free(output[0::2], output[1::2], guidance_scale) if guided else output

    return sample_segment(denoiser, plan, carry, keys=keys, extras=table)


def segment_length(calls: int) -> int:
    """The largest divisor of `calls` of which at least ten make the whole (1 where none): pieces share one program."""
    return max(length for length in range(1, max(1, calls // 10) + 1) if calls % length == 0)


@functools.partial(program, static_argnames=("networks",))
def decode(
    networks: Networks, params: AllParams, latents: Float[Array, "rows time freq channels"]
) -> Float[Array, "rows frames mels"]:
    """Latents to natural-log mel spectrograms."""
    scaled = latents.astype(networks.vae.dtype)
    mel = run(networks.vae, params["vae"], scaled, method="decode_scaled")[..., 0]
    return mel.astype(jnp.float32)


@functools.partial(program, static_argnames=("networks",))
def vocode(
    networks: Networks, params: AllParams, mel: Float[Array, "rows frames mels"]
) -> Float[Array, "rows samples"]:
    """Natural-log mel spectrograms to waves in [-1, 1]."""
    wave = run(networks.vocoder, params["vocoder"], mel.astype(networks.vocoder.dtype))
    return wave.astype(jnp.float32)
