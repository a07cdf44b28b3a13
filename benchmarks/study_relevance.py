"""How often the clips of a study's students are nearest to their captions, heard by `benchmarks/judging.py`.

    .venv/bin/python -m benchmarks.study_relevance runs/small/study --data data/sound data/music data/speech

The study is one of `python -m ldm_jax.study` that keeps its clips (`keep_clips`). R@10 is how often a clip is among the
ten of all that are nearest to its caption; of students the mean over seeds, ± half the 95 % interval over clips of what
seeds have in mean. A table in Markdown.
"""

import argparse
import collections
import json
import pathlib

import numpy as np

from benchmarks.judging import Judge
from benchmarks.small_model import FITTED, MUSICNN, NEAREST, held_out
from ldm_jax.audio.reading import read_audio
from ldm_jax.convert.load import load, read_own
from ldm_jax.eval.backbones.opening import open_backbone
from ldm_jax.eval.clips import ClipSet, read_side
from ldm_jax.shipped import DEFAULT
from ldm_jax.study.cells import Cell
from ldm_jax.study.runs import REFERENCES


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=pathlib.Path, help="its folder")
    parser.add_argument("--data", nargs="+", required=True, help="prepared folders, one a kind")
    parser.add_argument("--musicnn", help="folder of its weights, as in the package")
    arguments = parser.parse_args()
    fitted = held_out(arguments.data, ["train"], FITTED, read_own(DEFAULT).seconds, once=False)
    musicnn = open_backbone(MUSICNN, arguments.musicnn)
    judge = Judge(musicnn, load(DEFAULT), fitted, cache=arguments.study / "heard.npz")
    real = read_side(arguments.study / REFERENCES)
    captions = [clip.captions[0] for clip in real.clips]

    def near(side: ClipSet) -> np.ndarray:
        waves = [read_audio(clip.path)[0][:, 0] for clip in side.clips]
        return judge.ranks(waves, captions) < NEAREST

    print(f"| | R@{NEAREST} |\n|---|---:|")
    print(f"| held-out clips | {share([near(real)])} |")
    found = collections.defaultdict(list)
    lines = (arguments.study / "results.jsonl").read_text().splitlines()
    for cell in sorted(Cell(**json.loads(line)["cell"]) for line in lines):
        for folder in sorted((arguments.study / "cells" / cell.folder / "clips").iterdir()):
            found[cell.method, cell.weighting, folder.name].append(near(read_side(folder)))
    for names, of_seeds in found.items():
        print(f"| {' '.join(filter(None, names))} | {share(of_seeds)} |")
    print(f"\n{len(captions)} clips; chance: {NEAREST / len(captions):.2f}")


def share(of_seeds: list[np.ndarray]) -> str:
    """The share of hits, ± half its interval over clips."""
    means = np.mean(of_seeds, axis=0)
    return f"{means.mean():.2f} ± {1.96 * means.std(ddof=1) / np.sqrt(len(means)):.2f}"


if __name__ == "__main__":
    main()
