"""Small files to prepare, and clips that name them."""

import pathlib

import numpy as np
import soundfile

from ldm_jax.data.clip import Clip
from ldm_jax.data.locations import AudioFile
from ldm_jax.data.prepare import Settings, prepare


def noise(seed, seconds, rate=16_000, level=0.1):
    """White noise in 16-bit samples, so that every lossless format keeps it as it is."""
    wave = np.random.default_rng(seed).standard_normal(round(seconds * rate)) * level
    return np.clip(np.rint(wave * 32768), -32768, 32767).astype(np.int16)


def tone(seconds, rate, *, hz=440.0, level=0.5):
    return level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def write(path, samples, rate=16_000, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **options)
    return path


def clip(path, name=None, **fields):
    path = pathlib.Path(path)
    return Clip(name=name or path.name, audio=AudioFile(str(path)), **fields)


def noises(folder, count, seconds=0.3, **fields):
    """Clips of different noises."""
    return [
        clip(write(folder / f"{i:03d}.wav", noise(i, seconds)), captions=(f"noise {i}",), **fields)
        for i in range(count)
    ]


def prepared(clips, out, *, name="noise", workers=1, overwrite=False, **settings):
    """`prepare` with small shards, all for training."""
    settings = {"validation": 0.0, "test": 0.0, "shard_clips": 4, **settings}
    return prepare(
        clips,
        out,
        name=name,
        settings=Settings(**settings),
        workers=workers,
        overwrite=overwrite,
    )


def contents(folder):
    """Every file below a folder but the lock -> its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
