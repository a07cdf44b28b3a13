"""diffusers' AudioLDM2Pipeline on a random checkpoint."""

import pathlib

import diffusers
import espeakng_loader
import numpy as np
import torch
from phonemizer.backend.espeak.wrapper import EspeakWrapper

from ldm_jax.convert import random_checkpoint
from tests.cases_pipeline import Case

SCHEDULERS = {
    "dpmsolver++": diffusers.DPMSolverMultistepScheduler,
    "lms": diffusers.LMSDiscreteScheduler,
}


def run(case: Case, folder: pathlib.Path) -> dict[str, np.ndarray]:
    """The clip and its final latents, channels last, of a checkpoint written to `folder`."""
    random_checkpoint.write(case.size, folder, loa_tokens=case.loa_tokens)
    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    pipeline = diffusers.AudioLDM2Pipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    if case.sampler in SCHEDULERS:
        pipeline.scheduler = SCHEDULERS[case.sampler].from_config(pipeline.scheduler.config)
    arguments = {
        "prompt": case.prompt,
        "negative_prompt": case.negative or None,
        "transcription": case.transcript,
        "num_inference_steps": case.steps,
        "audio_length_in_s": case.seconds,
        "guidance_scale": case.guidance,
        "eta": case.eta,
        "num_waveforms_per_prompt": case.candidates,
        "max_new_tokens": case.loa_tokens,
    }
    latents = torch.tensor(case.latents().transpose(0, 3, 1, 2))
    audio = pipeline(**arguments, latents=latents.clone(), output_type="np").audios[:1]
    final = pipeline(**arguments, latents=latents.clone(), output_type="latent").audios
    return {"audio": audio, "latents": np.asarray(final).transpose(0, 2, 3, 1)}
