"""Writing clips: audio by suffix, spectrogram pictures. A file appears whole or not at all."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

FORMATS = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}


@contextlib.contextmanager
def whole_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary path beside `path` that takes its name when the block ends well, and goes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.stem[:40]}-", suffix=path.suffix
    )
    os.close(handle)
    temporary = pathlib.Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_format(path: pathlib.Path) -> None:
    """Raises ValueError unless the suffix of `path` names a format that `write_audio` knows."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"cannot write {path}: the suffix must be one of {', '.join(FORMATS)}")


def write_audio(path: pathlib.Path, audio: Float[np.ndarray, " samples"], sample_rate: int) -> None:
    """Writes `audio` (mono, full scale 1, what lies beyond is clipped) as 16-bit WAV or FLAC, or Ogg Vorbis.

    Raises:
        ValueError: an unknown suffix.
        OSError: the place cannot be written.
    """
    import soundfile  # here, because libsndfile need not load where nothing is written

    check_format(path)
    container, subtype = FORMATS[path.suffix.lower()]
    audio = np.clip(audio, -1, 1)
    if subtype == "PCM_16":  # rounded here: libsndfile rounds for FLAC otherwise than for WAV
        audio = np.rint(audio * 32767).astype(np.int16)
    with whole_file(path) as temporary:
        soundfile.write(temporary, audio, sample_rate, format=container, subtype=subtype)


def write_spectrogram(
    path: pathlib.Path,
    mel: Float[np.ndarray, "time mel"],
    *,
    seconds: float,
    title: str,
    loudest: float | None = None,
) -> None:
    """Writes a PNG of a natural-log mel spectrogram, time rightwards and frequency upwards.

    Args:
        path: of the PNG.
        mel: to draw.
        seconds: that it lasts.
        title: above it.
        loudest: the value of the brightest colour, 80 dB above the darkest; None is the largest of `mel`. Pictures
            that are to be compared need the same.
    """
    from matplotlib.figure import Figure  # slow to import, seldom wanted

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    decibels = mel.T * (20 / np.log(10))
    top = float(mel.max() if loudest is None else loudest) * (20 / np.log(10))
    image = axes.imshow(
        decibels,
        origin="lower",
        aspect="auto",
        extent=(0, seconds, 0, mel.shape[1]),
        vmin=top - 80,
        vmax=top,
        cmap="magma",
    )
    axes.set(xlabel="seconds", ylabel="mel band", title=title)
    figure.colorbar(image, ax=axes, label="dB")
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
