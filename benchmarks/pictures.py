"""The picture in README: spectrograms of what a checkpoint makes of a few prompts.

    .venv/bin/python benchmarks/pictures.py --out docs/small.png

One clip a prompt, seeds 0, 1, ...: the first that come, not the best of several. The waves go where `--waves` says.
"""

import argparse
import pathlib

import numpy as np
from matplotlib.figure import Figure

from ldm_jax import AudioLDM2
from ldm_jax.audio.files import write_audio
from ldm_jax.shipped import DEFAULT

PROMPTS = (
    "heavy rain",
    "footsteps on gravel",
    "slow classical music with guitar and harp",
    "fast electronic music with drums and synth",
    "a woman speaking a telephone voice prompt in English",
    "a man speaking",
)
RANGE = 80  # decibels from the brightest colour to the darkest


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", default=DEFAULT)
    parser.add_argument("--prompts", nargs="+", default=PROMPTS)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--sampler", default="dpmsolver++")
    parser.add_argument("--guidance-scale", type=float, default=3.5)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--waves", type=pathlib.Path)
    arguments = parser.parse_args()
    model = AudioLDM2.from_pretrained(arguments.checkpoint)
    clips = model.generate(
        arguments.prompts,
        steps=arguments.steps,
        sampler=arguments.sampler,
        guidance_scale=arguments.guidance_scale,
        seed=list(range(len(arguments.prompts))),
        progress=True,
    )
    seconds = clips.audio.shape[1] / clips.sample_rate
    columns = 2
    rows = -(-len(arguments.prompts) // columns)
    figure = Figure(figsize=(11, 2.1 * rows), layout="constrained")
    places = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
    for axes, prompt, mel in zip(places, arguments.prompts, clips.mel, strict=False):
        decibels = mel.T * (20 / np.log(10))
        axes.imshow(
            decibels,
            origin="lower",
            aspect="auto",
            extent=(0, seconds, 0, mel.shape[1]),
            vmin=decibels.max() - RANGE,
            vmax=decibels.max(),
            cmap="magma",
        )
        axes.set_title(prompt, fontsize=9)
    figure.supxlabel("seconds")
    figure.supylabel("mel band")
    figure.savefig(arguments.out, dpi=80)
    if arguments.waves is not None:
        arguments.waves.mkdir(parents=True, exist_ok=True)
        for i, wave in enumerate(clips.audio):
            write_audio(arguments.waves / f"{i}.wav", wave, clips.sample_rate)


if __name__ == "__main__":
    main()
