"""Files as people evaluate them, for how each tool reads them. No torch."""

import pathlib
import zlib

import numpy as np
import soundfile

from tests.golden import random_array

# (rate, samples, channels, libsndfile's subtype, peak)
FILES = {
    "stereo_44k": (44_100, 44_100 * 3 + 17, 2, "PCM_16", 0.9),
    "mono_16k": (16_000, 36_000, 1, "PCM_16", 0.5),
    "mono_48k": (48_000, 120_001, 1, "PCM_24", 0.7),
    "mono_8k": (8_000, 24_003, 1, "PCM_16", 0.6),
    "stereo_96k": (96_000, 150_000, 2, "PCM_24", 0.8),
    "short_22k": (22_050, 8_820, 1, "PCM_16", 0.5),
    "round_44k": (
        44_100,
        441_000,
        1,
        "PCM_16",
        0.7,
    ),  # librosa makes 480,001 samples of it at 48 kHz
    "long_16k": (16_000, 196_800, 1, "PCM_16", 0.5),
    "bytes_11k": (11_025, 33_075, 1, "PCM_U8", 0.9),
}
QUANTISED = ("stable_audio_metrics_clap", "fadtk_vggish", "fadtk_clap")
KEPT = 64


def wave(name: str) -> np.ndarray:
    """(samples, channels): a slow wander under bursts of noise, not centred on 0."""
    _, samples, channels, _, peak = FILES[name]
    noise = random_array(f"waves/{name}", (samples, channels))
    slow = np.cumsum(noise, axis=0) / 300
    slow -= np.linspace(0, 1, samples)[:, None] * slow[-1]
    bursts = np.abs(np.sin(np.linspace(0, 9, samples)))[:, None] ** 3
    x = slow + np.roll(noise, 5, axis=0) * bursts
    return peak * x / np.abs(x).max() * 0.97 + 0.02


def write(name: str, folder: pathlib.Path) -> pathlib.Path:
    """The file."""
    rate, _, _, subtype, _ = FILES[name]
    path = folder / f"{name}.wav"
    soundfile.write(path, wave(name), rate, subtype=subtype)
    return path


def places(name: str, length: int) -> np.ndarray:
    """Which samples of a loaded wave a golden file holds: the ends and some between."""
    state = np.random.RandomState(zlib.crc32(name.encode()))
    inner = state.randint(0, length, KEPT - 4)
    return np.unique(np.concatenate([[0, 1, length - 2, length - 1], inner]))
