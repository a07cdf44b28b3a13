"""Small trees of real files."""

import functools
import io
import pathlib

import numpy as np
import soundfile

from ldm_jax.data.clip import Clip, Omission
from ldm_jax.data.locations import AudioFile

RATE = 16_000
_KINDS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp4": ("WAV", "PCM_16"),
}


@functools.cache
def sound(kind: str = "wav", *, hz: float = 440.0, seconds: float = 0.1) -> bytes:
    """The bytes of a file with a tone."""
    wave = 0.5 * np.sin(2 * np.pi * hz / RATE * np.arange(int(seconds * RATE)))
    file = io.BytesIO()
    container, subtype = _KINDS[kind]
    soundfile.write(file, wave, RATE, format=container, subtype=subtype)
    return file.getvalue()


def lay_out(root: pathlib.Path, *sounds: str, **texts: str | bytes) -> pathlib.Path:
    """Files with a tone, and others; in the names of these "__" is "/" and "_DOT_" a dot."""
    for name in sounds:
        put(root, name, sound(name.rpartition(".")[2].lower()))
    for name, text in texts.items():
        put(root, name.replace("__", "/").replace("_DOT_", "."), text)
    return root


def put(root: pathlib.Path, name: str, content: str | bytes) -> pathlib.Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def parted(source) -> tuple[list[Clip], list[Omission]]:
    """Its clips and its omissions; iterating twice must give the same."""
    found = list(source)
    assert list(source) == found
    clips = [clip for clip in found if isinstance(clip, Clip)]
    assert len({clip.name for clip in clips}) == len(clips)
    return clips, [omission for omission in found if isinstance(omission, Omission)]


def clip(root: pathlib.Path, path: str, **fields) -> Clip:
    """The clip of a plain file below `root`, named by its path unless told otherwise."""
    return Clip(**({"name": path, "audio": AudioFile(str(root / path))} | fields))


def reasons(omissions: list[Omission]) -> dict[str, str]:
    return {omission.name: omission.reason for omission in omissions}
