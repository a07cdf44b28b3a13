"""What stages that train a vocoder share: stretches of clips, and whole clips made again from their log-mels."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from ldm_jax.audio.log_mel import LogMelSettings, log_mel
from ldm_jax.models.layers import upcast
from ldm_jax.train.previews import Preview
from ldm_jax.train.stages.stage import Arrays, Params


def starts(key: Key[Array, ""], batch: Arrays, length: int, hop: int) -> Int[Array, " batch"]:
    """Of each row's stretch in frames, evenly from those that leave it within the sound if it fits there.

    Args:
        key: of the draw.
        batch: with `wave` and `samples`, how many of these are sound.
        length: of a stretch, in samples.
        hop: samples from frame to frame.

    Raises:
        ValueError: clips shorter than a stretch.
    """
    waves = batch["wave"]
    if waves.shape[-1] < length:
        raise ValueError(
            f"clips of {waves.shape[-1]} samples; segment_samples is {length}: "
            "take longer clips (data.seconds) or shorter segments"
        )
    sound = jnp.clip(batch["samples"], length, waves.shape[-1])
    places = (sound - length) // hop + 1
    return jax.random.randint(key, places.shape, 0, places)


def stretch(
    x: Float[Array, "batch time *c"], start: Int[Array, " batch"], length: int
) -> Float[Array, "batch {length} *c"]:
    """`length` elements along time from each row's own start."""
    return jax.vmap(lambda row, first: jax.lax.dynamic_slice_in_dim(row, first, length))(x, start)


def heard(
    vocoder: nn.Module,
    params: Params,
    wave: Float[Array, "batch samples"],
    mel: LogMelSettings,
    *,
    clips: int,
) -> Preview:
    """The first clips as they are and as they are made from their log-mels; the mean error of all log-mels."""
    real, fake, before, after = jax.device_get(_resynthesize(vocoder, params, wave, mel))
    waves, images = {}, {}
    for i in range(min(clips, len(real))):
        waves[f"clip_{i}_original"] = real[i], mel.sample_rate
        waves[f"clip_{i}_vocoder"] = fake[i], mel.sample_rate
        images[f"clip_{i}_original"], images[f"clip_{i}_vocoder"] = before[i], after[i]
    figures = {"log_mel_l1": float(np.abs(before - after).mean())}
    return Preview(waves=waves, images=images, figures=figures)


@functools.partial(jax.jit, static_argnames=("vocoder", "settings"))
def _resynthesize(
    vocoder: nn.Module, params: Params, wave: Array, settings: LogMelSettings
) -> tuple[Array, Array, Any, Any]:
    """(waves, generated waves, log-mels of each), of one length."""
    before = log_mel(wave, settings)
    made: Any = vocoder.apply({"params": params}, before)
    samples = min(wave.shape[-1], made.shape[-1])
    made = upcast(made)[:, :samples]
    return wave[:, :samples], made, before, log_mel(made, settings)[:, : before.shape[1]]
