"""VGGish and Cnn14 for the tests: sizes, weights, spectrograms, waves. No torch."""

import numpy as np

from ldm_jax.audio.panns_features import PANNS, PANNS_32K_WIDE, PannsSettings
from ldm_jax.models.cnn14 import Cnn14
from ldm_jax.models.vggish import VGGish
from tests.golden import random_array, random_tensors

# Wide enough for every algorithm of `prepared_filters`: widths of 64 to 2, products saved from 32 features on.
CNN14 = {
    "narrow": Cnn14(num_classes=11, features=(4, 6, 8, 8, 10, 12)),
    "wide": Cnn14(num_classes=11, features=(32, 36, 40, 40, 48, 64)),
}
VGGISH = {
    "narrow": VGGish(features=(4, 6, 8, 8), hidden=20, out_features=16),
    "wide": VGGish(features=(32, 36, 40, 40), hidden=48, out_features=16),
}
CNN14_PARAMETERS = 80_753_615 + 2 * (64 + 2 * 4032)  # and the running statistics of the batch norms
VGGISH_PARAMETERS = 72_157_696 - 128 * 128 - 128  # but for the principal components
KEPT_FRAMES = slice(None, None, 19)  # of an example
FRAMES = (75, 64, 33)  # of three clips: odd and even where they are halved
WAVES = (160_000, 31_999, 15_600)  # samples at 16 kHz; the last has one example
PANNS_CASES: dict[str, tuple[PannsSettings, int]] = {  # and samples, one of them the fewest
    "8k": (PANNS[8_000], 20_001),
    "16k": (PANNS[16_000], 160_000),
    "16k_short": (PANNS[16_000], 257),
    "32k": (PANNS[32_000], 64_000),
    "32k_wide": (PANNS_32K_WIDE, 64_000),
}


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Random tensors under which a signal keeps its size, and a first norm for what `log_mels` gives."""
    tensors = random_tensors(shapes, gain=2**0.5)
    if "bn0.running_mean" in tensors:
        tensors["bn0.running_mean"] -= 40
        tensors["bn0.running_var"] *= 240
    return tensors


def log_mels(frames: tuple[int, ...] = FRAMES) -> list[np.ndarray]:
    """Spectrograms like those of sounds, in dB, of which no two are alike; float32 values in float64."""
    clips = []
    for i, count in enumerate(frames):
        x = -40 + 12 * random_array(f"clip{i}", (count, 64)) + 10 * random_array(f"tilt{i}", (64,))
        clips.append(x.astype(np.float32).astype(np.float64))
    return clips


def padded(
    clips: list[np.ndarray], frames: int, *, filling: float
) -> tuple[np.ndarray, np.ndarray]:
    """(clips as rows of `frames` frames, their lengths)."""
    rows = np.full((len(clips), frames, 64), filling)
    for row, clip in zip(rows, clips, strict=True):
        row[: len(clip)] = clip
    return rows, np.array([len(clip) for clip in clips], np.int32)


def examples(count: int = 3) -> np.ndarray:
    """VGGish's input: logarithms of magnitudes; float32 values in float64."""
    x = -2 + 1.5 * random_array("examples", (count, 96, 64)) + random_array("tilts", (count, 1, 64))
    return x.astype(np.float32).astype(np.float64)
