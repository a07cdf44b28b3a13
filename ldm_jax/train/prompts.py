"""Fixed prompts sampled now and then with the averaged weights, through the pipeline that users have."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax

from ldm_jax.convert.checkpoint import Checkpoint
from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.convert.load import load
from ldm_jax.convert.rules import Params
from ldm_jax.diffusion.distilled import Distilled
from ldm_jax.parallel.mesh import data_mesh
from ldm_jax.pipeline.audioldm2 import AudioLDM2
from ldm_jax.students import SAMPLERS
from ldm_jax.train.config import Prompts
from ldm_jax.train.export import missing, plain, with_latent_scale
from ldm_jax.train.previews import Preview
from ldm_jax.train.trained import SYSTEM
from ldm_jax.train.weights import SCRATCH, Opened, read_network


def system(
    opened: Opened, *, checkpoint: str, weights: Mapping[str, str], trained: Mapping[str, Any]
) -> Checkpoint:
    """All that sampling needs beside the networks in `trained`: the run's own, the checkpoint's, those of `weights`.

    Raises:
        CheckpointError: something is missing; the message says what.
    """
    parts = [load(checkpoint)] if checkpoint else []
    parts += [
        read_network(source, name)
        for name, source in weights.items()
        if source not in ("", SCRATCH)
    ]
    networks, params, tokenizers = {}, {}, dict(opened.tokenizers)
    for part in (*parts, opened):
        networks |= part.networks
        params |= part.params
        tokenizers = {**part.tokenizers, **tokenizers}
    there = {
        name: module
        for name, module in networks.items()
        if name in SYSTEM and (name in params or name in trained)
    }
    whole = dataclasses.replace(
        plain(opened),
        networks=there,
        params=params,
        tokenizers=tokenizers,
        preset=opened.preset or "official",
    )
    if lacking := missing(whole):
        raise CheckpointError(
            f"no prompts are sampled: missing are {', '.join(lacking)}; name them in weights, or a checkpoint"
        )
    return whole


def sample(
    prompts: Prompts,
    whole: Checkpoint,
    params: Mapping[str, Params],
    constants: Mapping[str, Any],
    *,
    seconds: float,
    dtype: str,
) -> Preview:
    """A wave and a spectrogram for each prompt.

    Args:
        prompts: what and how.
        whole: of `system`.
        params: of the trained networks, averaged, on the host.
        constants: of the run: the scale of the latents.
        seconds: of each clip.
        dtype: compute type.
    """
    trained = dataclasses.replace(
        with_latent_scale(whole, constants),
        params={**whole.params, **params},
    )
    mesh = data_mesh(jax.local_devices()[:1])
    with jax.set_mesh(mesh):
        model = AudioLDM2(trained, preset=None, dtype=dtype, mesh=mesh)
        clips = model.generate(
            list(prompts.texts),
            transcript=list(prompts.transcripts) or None,
            seconds=seconds,
            seed=prompts.seed,
            **asked(prompts, trained.distilled),
        )
    names = [f"{i}-{_slug(text)}" for i, text in enumerate(prompts.texts)]
    return Preview(
        waves={n: (wave, clips.sample_rate) for n, wave in zip(names, clips.audio, strict=True)},
        images=dict(zip(names, clips.mel, strict=True)),
    )


def asked(prompts: Prompts, distilled: Distilled | None) -> dict[str, Any]:
    """How `prompts` are sampled; where a student has its own steps, sampler or scale, these hold."""
    chosen = {"steps": prompts.steps, "sampler": prompts.sampler}
    if distilled is None:
        return {**chosen, "guidance_scale": prompts.guidance_scale}
    return {} if distilled.method in SAMPLERS else chosen


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "prompt"
