"""What the clips of a `RunStudy` are drawn for and held against: the first of each dataset's split with captions."""

import itertools
import pathlib
from typing import Any

import numpy as np

from ldm_jax.audio.files import write_audio
from ldm_jax.audio.reading import read_audio
from ldm_jax.data.prepared import open_prepared
from ldm_jax.data.rows import Row
from ldm_jax.data.segments import Shaping, segment
from ldm_jax.eval.clips import ClipSet, read_side
from ldm_jax.study.settings import RunStudy

DONE = "complete.txt"  # written last


def references(study: RunStudy, folder: pathlib.Path) -> ClipSet:
    """Those in a folder, where they are written first if they are not all there.

    Raises:
        ValueError: no such dataset, split, or caption.
    """
    if not (folder / DONE).exists():
        write_references(study, folder)
    return read_side(folder)


def write_references(study: RunStudy, folder: pathlib.Path) -> None:
    """The first clips of each dataset's split that have captions, as WAV with the caption beside each.

    Raises:
        ValueError: no such dataset, split, or caption.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for dataset in study.prepared:
        rows = open_prepared(dataset).rows(study.split)
        told = itertools.islice((row for row in rows if row.captions), study.clips)
        for row in told:
            wave, rate = _reference(row, study)
            write_audio(folder / f"{count:05}.wav", wave, rate)
            (folder / f"{count:05}.txt").write_text(row.captions[0] + "\n")
            count += 1
    of = f"{', '.join(study.prepared)}, {study.split}"
    if not count:
        raise ValueError(f"no clip of {of}, has a caption")
    (folder / DONE).write_text(f"{count} clips of {of}\n")


def _reference(row: Row, study: RunStudy) -> tuple[np.ndarray, int]:
    """(wave, rate) of a clip, whole or as training would see its beginning."""
    if not study.padding:
        wave, rate = read_audio(row.audio)
        return wave[: row.samples, 0], rate
    values: dict[str, Any] = {"seconds": study.seconds, "padding": study.padding}
    shaping = Shaping(random_start=False, caption="first", **values)
    return segment(row, shaping, np.random.default_rng(0)).wave, shaping.sample_rate
