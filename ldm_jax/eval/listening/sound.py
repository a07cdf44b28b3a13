"""The sound of an item's clips: read, matched in loudness, and as the bytes that a browser plays."""

import dataclasses
import io
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import soundfile
from jaxtyping import Float

from ldm_jax.audio.reading import AudioError, read_audio
from ldm_jax.audio.resampling import resample
from ldm_jax.eval.clips import Clip
from ldm_jax.eval.listening.loudness import integrated_loudness
from ldm_jax.eval.listening.material import Item

Codec = Literal["flac", "opus"]
PEAK = 10 ** (-1 / 20)  # -1 dBFS
FADE_SECONDS = 0.02  # where a clip is cut
OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
OPUS_LEVEL = 0.75  # of libsndfile, about 70 kbit/s a channel
_COMMENT_BYTES = 12  # a FLAC file grows by these and the comment


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sound:
    """One clip as raters hear it.

    Attributes:
        wave: full scale 1.
        rate: Hz.
        loudness: LUFS, as it was; -inf for silence.
        gain: decibels that were added.
    """

    wave: Float[np.ndarray, "samples channels"]
    rate: int
    loudness: float
    gain: float


def read_clip(clip: Clip, *, seconds: float | None = None) -> tuple[np.ndarray, int]:
    """(samples of one or two channels, rate) of a clip, or of its first `seconds`, faded out where it is cut.

    Raises:
        ValueError: not audio, or more than two channels; names the file.
        OSError: it cannot be read.
    """
    limits = (clip.seconds, None if seconds is None else seconds + FADE_SECONDS)
    wanted = min((limit for limit in limits if limit is not None), default=None)
    try:
        wave, rate = read_audio(clip.path, start=clip.start, seconds=wanted)
    except AudioError as error:
        raise ValueError(f"{clip.path}: {error}") from None
    if wave.shape[1] > 2:
        raise ValueError(f"{clip.path} has {wave.shape[1]} channels; one or two are expected")
    if seconds is not None and len(wave) > (length := round(seconds * rate)):
        fade = min(length, round(FADE_SECONDS * rate))
        wave = wave[:length]
        wave[length - fade :] *= np.linspace(1, 0, fade, dtype=wave.dtype)[:, None]
    return wave, rate


def matched(
    item: Item, *, target: float, seconds: float | None = None
) -> tuple[dict[str, Sound], tuple[str, ...]]:
    """(the item's sounds by system, all of the same loudness; remarks, in sentences).

    The loudness is `target` (LUFS), or as much less as it takes to keep every clip's peak below -1 dBFS: lowering
    one clip alone would favour the others. Silence is left as it is. If one clip is stereo, all are.

    Raises:
        ValueError: as `read_clip`.
    """
    read = {name: read_clip(clip, seconds=seconds) for name, clip in item.clips.items()}
    if any(wave.shape[1] == 2 for wave, _ in read.values()):
        read = {name: (np.broadcast_to(w, (len(w), 2)), rate) for name, (w, rate) in read.items()}
    loudness = {name: integrated_loudness(wave, rate) for name, (wave, rate) in read.items()}
    peaks = {name: float(np.abs(wave).max()) for name, (wave, _) in read.items()}
    heard = [name for name in read if math.isfinite(loudness[name])]
    reachable = [loudness[name] + 20 * math.log10(PEAK / peaks[name]) for name in heard]
    level = min([target, *reachable])
    remarks = [
        f"{item.clips[name].path} is silent and stays as it is"
        for name in read
        if name not in heard
    ]
    if level < target - 0.05:
        remarks.append(
            f"{item.name}: all systems at {level:.1f} LUFS, because a peak would pass -1 dBFS at {target:g}"
        )
    sounds = {}
    for name, (wave, rate) in read.items():
        gain = level - loudness[name] if name in heard else 0.0
        wave = np.clip(wave * np.float32(10 ** (gain / 20)), -PEAK, PEAK)
        sounds[name] = Sound(wave=wave, rate=rate, loudness=loudness[name], gain=gain)
    return sounds, tuple(remarks)


def encode(sounds: Mapping[str, Sound], codec: Codec) -> dict[str, bytes]:
    """Files of the sounds that tell nothing else: no name, no tag, and as FLAC all of the same size.

    FLAC keeps what the system made, with 16 bits and at its own rate. Opus is smaller, has rates of its own
    (others become 48 kHz), and sizes that depend on the sound.
    """
    files = {name: _file(sound, codec) for name, sound in sounds.items()}
    if codec == "opus":
        return files
    size = max(map(len, files.values())) + _COMMENT_BYTES + 1
    return {
        name: _file(sound, codec, comment=" " * (size - _COMMENT_BYTES - len(files[name])))
        for name, sound in sounds.items()
    }


def _file(sound: Sound, codec: Codec, comment: str = "") -> bytes:
    wave, rate = sound.wave, sound.rate
    settings: dict[str, Any] = {"format": "FLAC", "subtype": "PCM_16"}
    if codec == "opus":
        settings = {"format": "OGG", "subtype": "OPUS", "compression_level": OPUS_LEVEL}
        if rate not in OPUS_RATES:
            wave, rate = resample(wave.T, rate, 48_000).T, 48_000
    else:  # rounded here, as in `audio.files`
        wave = np.rint(np.asarray(wave, np.float64) * 32767).astype(np.int16)
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", rate, wave.shape[1], **settings) as file:
        if comment:
            file.comment = comment
        file.write(wave)
    return buffer.getvalue()
