"""Files to make sides of."""

import json

import numpy as np
import soundfile

RATE = 8000


def sound(path, *, seconds=0.05, seed=0):
    """Noise of `seed` in a file of its suffix's kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * RATE))
    soundfile.write(path, wave, RATE)
    return path


def lines(path, *rows):
    """A JSON object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def names(clips):
    return [clip.name for clip in clips]


def told(problems):
    """(file, whether dropped) of each problem."""
    return [(problem.file, problem.dropped) for problem in problems]
