"""The clips that presets and the peers' tools are run on: twelve pairs, the same bit for bit wherever they are made."""

import math
import pathlib

import numpy as np
import scipy.signal
import soundfile

from ldm_jax.audio.reading import read_audio

CLIPS = pathlib.Path(__file__).parents[1] / "clips"
# (seconds, rate, channels) of each pair; rates are reached by rational filters, which are the same everywhere.
FORMS = (
    (4.0, 16_000, 1),
    (3.1, 16_000, 1),
    (2.0, 16_000, 1),
    (6.0, 44_100, 2),
    (5.3, 44_100, 1),
    (10.0, 48_000, 2),
    (3.0, 8_000, 1),
    (0.9, 16_000, 1),
    (9.5, 16_000, 1),
    (2.7, 22_050, 1),
    (4.4, 32_000, 1),
    (12.0, 16_000, 1),
)
TOO_SHORT = ("clip_07",)  # less than one example of VGGish, at which tools stop that do not pad


def write_pairs(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """(generated, reference): real sounds, and the same louder or softer under some noise and shifted a little."""
    files = sorted(path for path in CLIPS.rglob("*") if path.suffix == ".opus")
    sides = folder / "generated", folder / "reference"
    for side in sides:
        side.mkdir(parents=True, exist_ok=True)
    for i, (seconds, rate, channels) in enumerate(FORMS):
        wave = _sound(files[i % len(files)], seconds, rate, channels)
        noise = np.random.RandomState(i).standard_normal(wave.shape)
        shift = round(0.01 * (i % 4) * rate)
        changed = (0.5 + 0.04 * i) * np.roll(wave, shift, axis=0) + 0.02 * noise
        for side, one in zip(sides, (changed, wave), strict=True):
            whole = np.rint(np.clip(one, -1, 1) * 32767).astype(np.int16)
            soundfile.write(side / f"clip_{i:02d}.wav", whole, rate, subtype="PCM_16")
    return sides


def captions() -> dict[str, str]:
    """What the clips are said to be."""
    words = ("a dog", "rain", "a train", "music", "a bell", "wind")
    return {f"clip_{i:02d}": f"{words[i % 6]} and {words[(i + 1 + i // 6) % 6]}" for i in range(12)}


def _sound(path: pathlib.Path, seconds: float, rate: int, channels: int) -> np.ndarray:
    """A sound over and over for so long; a second channel is the first, delayed and softer."""
    wave, source = read_audio(path)
    mono = np.asarray(wave[:, 0], np.float64)
    mono = 0.5 * mono / np.abs(mono).max()
    common = math.gcd(source, rate)
    mono = scipy.signal.resample_poly(mono, rate // common, source // common)
    mono = np.resize(mono, round(seconds * rate))
    return np.stack([mono, 0.7 * np.roll(mono, 40)], axis=1)[:, :channels]
