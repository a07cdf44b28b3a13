"""Pictures of a wave: a log-mel spectrogram as PNG, its axes' ticks, and the level as a path."""

import io
import math

import numpy as np
from jaxtyping import Float

from ldm_jax.audio.log_mel import LogMelSettings, log_mel

COLUMNS = 640  # at most, of a spectrogram
BANDS = 80
RANGE = 80.0  # decibels from the loudest point to black
STEPS = 320  # of a level picture
HERTZ = (125, 250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000)


def spectrogram(
    wave: Float[np.ndarray, " samples"], rate: int
) -> tuple[Float[np.ndarray, "frames bands"], LogMelSettings]:
    """(decibels below the loudest point, from -80 to 0; how they were made) over all of the wave's band."""
    n_fft = max(1024, 2 ** round(math.log2(0.064 * rate)))
    settings = LogMelSettings(
        sample_rate=rate,
        n_fft=n_fft,
        hop=max(rate // 400, 1, -(-len(wave) // COLUMNS)),
        num_mels=BANDS,
        fmin=0.0,
        fmax=rate / 2,
        centred=True,
    )
    wave = np.pad(wave, (0, max(0, n_fft - len(wave)))).astype(np.float32)
    level = log_mel(wave, settings) * (20 / math.log(10))
    return np.clip(level - level.max(), -RANGE, 0.0), settings


def png(level: Float[np.ndarray, "frames bands"]) -> bytes:
    """Time rightwards, frequency upwards, magma."""
    from matplotlib import colormaps  # slow to import
    from PIL import Image

    shades = np.rint((level.T[::-1] / RANGE + 1) * 255).astype(np.uint8)
    image = Image.fromarray(shades).convert("P")
    palette = np.rint(colormaps["magma"](np.arange(256))[:, :3] * 255).astype(np.uint8)
    image.putpalette(palette.tobytes())
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return file.getvalue()


def frequency_ticks(settings: LogMelSettings) -> list[tuple[float, str]]:
    """(height from 0 at the bottom to 1, label) of octaves, far enough apart to be read."""
    top = _mel(settings.fmax)
    ticks: list[tuple[float, str]] = []
    for hertz in HERTZ:
        height = _mel(hertz) / top
        if height < 0.97 and (not ticks or height - ticks[-1][0] > 0.1):
            ticks.append((height, f"{hertz // 1000} kHz" if hertz >= 1000 else f"{hertz} Hz"))
    return ticks


def time_ticks(seconds: float) -> list[tuple[float, str]]:
    """(place from 0 to 1, label) of round times, at most seven."""
    if not seconds:
        return []
    step = next(
        mantissa * 10.0**power
        for power in range(-4, 6)
        for mantissa in (1, 2, 5)
        if seconds / (mantissa * 10.0**power) <= 6
    )
    return [
        (i * step / seconds, f"{i * step:g}" + ("" if i else " s"))
        for i in range(int(seconds / step + 1e-9) + 1)
    ]


def level_path(wave: Float[np.ndarray, " samples"]) -> str:
    """An SVG path, `STEPS` wide and 2 high, full scale at 0 and 2, round the wave's lowest and highest samples."""
    if not len(wave):
        return ""
    edges = np.linspace(0, len(wave), min(STEPS, len(wave)) + 1).astype(int)[:-1]
    high = np.clip(np.maximum.reduceat(wave, edges), -1, 1)
    low = np.clip(np.minimum.reduceat(wave, edges), -1, 1)
    x = np.arange(len(edges)) * (STEPS / len(edges))
    there = [f"{a:.0f} {1 - b:.3f}" for a, b in zip(x, high, strict=True)]
    back = [f"{a:.0f} {1 - b:.3f}" for a, b in zip(x[::-1], low[::-1], strict=True)]
    return f"M{'L'.join(there + back)}Z"


def _mel(hertz: float) -> float:
    """Slaney's mel scale, linear below 1 kHz."""
    return 3 * hertz / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)
