"""Clips of a checkpoint, for each of several settings, to be evaluated like any others."""

import dataclasses
import itertools
import json
import pathlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from ldm_jax import students
from ldm_jax.audio.files import whole_file
from ldm_jax.command import SHARED, Job, request_of
from ldm_jax.config import Generation, preset
from ldm_jax.diffusion.distilled import Distilled
from ldm_jax.eval.clips import Clip
from ldm_jax.eval.processes import share


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """All combinations of these settings; the others are those of `generation`.

    Attributes:
        steps: of the sampler; None is the checkpoint's own, here and below.
        samplers: by name.
        guidance_scales: weights of the prompt.
        generation: everything else, and the seed that the clips' own are made from.
    """

    steps: tuple[int | None, ...] = (None,)
    samplers: tuple[str | None, ...] = (None,)
    guidance_scales: tuple[float | None, ...] = (None,)
    generation: Generation = dataclasses.field(default_factory=Generation)

    def settings(self, distilled: Distilled | None) -> list[Generation]:
        """All of them, each once, for a checkpoint that has to be sampled as `distilled` says.

        Raises:
            ValueError: one that is out of range, or that the checkpoint does not take.
        """
        others = dataclasses.asdict(self.generation)
        varied = itertools.product(self.samplers, self.guidance_scales, self.steps)
        settled = (
            students.settings(
                distilled,
                **(others | {"sampler": sampler, "guidance_scale": scale, "steps": steps}),
            )
            for sampler, scale, steps in varied
        )
        return list(dict.fromkeys(settled))


def title(generation: Generation) -> str:
    """What a sweep calls one of its settings, and the folder of its clips."""
    return f"{generation.sampler}-{generation.steps}-{generation.guidance_scale:g}"


def clip_seed(name: str, seed: int) -> int:
    """A seed for each clip, since clips of one seed start from the same noise and would look alike to a metric."""
    return zlib.crc32(f"{seed}/{name}".encode())


def draw(
    model: Any,
    clips: Sequence[Clip],
    folder: pathlib.Path,
    generation: Generation,
    *,
    source: Mapping[str, Any],
    batch: int = 1,
    progress: bool = False,
    latents: pathlib.Path | None = None,
) -> None:
    """A WAV with its record for each clip with a caption, by the clip's name; those that are there are kept.

    Args:
        model: an `AudioLDM2` on this process's devices.
        clips: names and what is to be heard.
        folder: where they go.
        generation: how they are drawn; a clip's seed is `clip_seed`.
        source: `checkpoint`, `preset` and `dtype`, for the records.
        batch: clips drawn together. No clip depends on it.
        progress: whether to show a bar.
        latents: a folder for the latents of each clip, `NAME.npy` of (time, frequency, channels); None keeps none.

    Raises:
        ValueError: a setting that the checkpoint does not take.
        OSError: the folder cannot be written.
    """
    shared = {name: getattr(generation, name, None) for name in SHARED} | dict(source)
    shared["preset"] = shared["preset"] or preset("official").name
    speaks = "phoneme_encoder" in model.checkpoint.networks
    jobs = [
        Job(
            audio=folder / f"{clip.name}.wav",
            spectrogram=False,
            settings={
                "prompt": clip.captions[0],
                "negative_prompt": "",
                "transcript": clip.transcript if speaks else None,
                "seed": clip_seed(clip.name, generation.seed),
                **shared,
            },
        )
        for clip in share([clip for clip in clips if clip.captions])
    ]
    waiting = [job for job in jobs if not _is_there(job, model.description)]
    with tqdm(total=len(waiting), unit="clip", desc=title(generation), disable=not progress) as bar:
        for part in Job.batches(waiting, batch):
            made = model.generate(**request_of(part, size=min(batch, len(waiting))))
            for row, job in enumerate(part):
                if latents is not None:
                    with whole_file(latents / f"{job.audio.stem}.npy") as temporary:
                        np.save(temporary, made.latents[row])
                job.write(made, row, model)
                bar.update()
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(title(generation))


def _is_there(job: Job, description: Mapping[str, Any]) -> bool:
    """Whether a clip of these settings and of just these weights lies there."""
    if not job.finished:
        return False
    made_by = json.loads(job.record.read_text()).get("model", {})
    same = ("checkpoint_hash", "preset", "dtype")
    return all(made_by.get(key) == description[key] for key in same)
