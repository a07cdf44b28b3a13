"""The picture in README: spectrograms of what checkpoints make of a few prompts, a row a checkpoint.

    .venv/bin/python -m benchmarks.pictures --out docs/small.png

One clip a prompt, the same seed in every row, 0, 1, ...: the first that come, not the best of several. The waves go
where `--waves` says. Systems are named as in `benchmarks/systems.py`.
"""

import argparse
import pathlib
import textwrap

import numpy as np
from matplotlib.figure import Figure

from benchmarks.systems import system
from ldm_jax import AudioLDM2
from ldm_jax.audio.files import write_audio
from ldm_jax.shipped import DEFAULT, QUALITIES

SYSTEMS = (f"{DEFAULT}:dpmsolver++:25", QUALITIES["fast"], QUALITIES["instant"])
PROMPTS = (
    "heavy rain",
    "footsteps on gravel",
    "slow classical music with guitar and harp",
    "fast electronic music with drums and synth",
    "a woman speaking a telephone voice prompt in English",
)
RANGE = 80  # decibels from the brightest colour to the darkest


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--systems", nargs="+", default=SYSTEMS)
    parser.add_argument("--prompts", nargs="+", default=PROMPTS)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--waves", type=pathlib.Path)
    arguments = parser.parse_args()
    rows, columns = len(arguments.systems), len(arguments.prompts)
    figure = Figure(figsize=(2.6 * columns, 2.1 * rows), layout="constrained")
    places = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for row, name in zip(places, arguments.systems, strict=True):
        told = system(name)
        model = AudioLDM2.from_pretrained(told.checkpoint)
        clips = told.draw(model, arguments.prompts, seeds=range(columns), progress=True)
        for axes, mel in zip(row, clips.mel, strict=True):
            decibels = mel.T * (20 / np.log(10))
            axes.imshow(
                decibels,
                origin="lower",
                aspect="auto",
                extent=(0, clips.audio.shape[1] / clips.sample_rate, 0, mel.shape[1]),
                vmin=decibels.max() - RANGE,
                vmax=decibels.max(),
                cmap="magma",
            )
        row[0].set_ylabel(f"{told.checkpoint}, {told.calls} call{'s' * (told.calls != 1)}")
        if arguments.waves is not None:
            arguments.waves.mkdir(parents=True, exist_ok=True)
            for i, wave in enumerate(clips.audio):
                path = arguments.waves / f"{told.checkpoint.replace('/', '_')}-{i}.wav"
                write_audio(path, wave, clips.sample_rate)
    for axes, prompt in zip(places[0], arguments.prompts, strict=True):
        axes.set_title(textwrap.fill(prompt, 30), fontsize=8)
    figure.supxlabel("seconds", fontsize=9)
    figure.savefig(arguments.out, dpi=80)


if __name__ == "__main__":
    main()
