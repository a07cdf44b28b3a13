"""Reading audio of any kind that libsndfile knows, told by its content and not by its name.

WAV (8 to 32 bits, float, extensible), FLAC, MP3, Ogg Vorbis and Opus, and with them AIFF, AU, CAF and
W64. Whatever is wrong with a file is an `AudioError` of one sentence, which leaves it to the caller to
name the file. A file that ends before its own header says so is wrong wherever the asked range reaches
the missing part.
"""

import contextlib
import io
import math
import pathlib
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import numpy as np
import soundfile
from jaxtyping import Float

from ldm_jax.audio import mp3
from ldm_jax.audio.containers import Stream, describe, missing_bytes

BLOCK_SAMPLES = 2**24  # of all channels, which are decoded at once: 64 MiB
RATES = range(1_000, 1_000_001)  # Hz; what a header says beyond them is a broken header
# Lengths in headers are taken at their word but for this: some writers count a chunk or a frame too many.
TOLERANCE_SECONDS = 0.1
# Frames may keep part of their data in up to 21 frames before them, of up to 1152 samples; libsndfile
# goes back four when it seeks, and gives silence until it has what it needs.
_MP3_MEMORY = 24 * 1152
_COMPRESSED = ("FLAC", "OGG", "MP3")
_UNKNOWN = 2**62  # libsndfile's number of samples of a FLAC file that was written to a pipe


class _SoundFile(soundfile.SoundFile):
    """Without its habit to seek after each reading to where it is.

    MP3 frames lose what earlier ones hold of them, and a FLAC file of unknown length cannot do it.
    """

    def seekable(self) -> bool:
        return False


class AudioError(ValueError):
    """This is not audio that can be used; the message is one sentence with what was found."""


def read_audio(
    file: pathlib.Path | bytes | BinaryIO | io.IOBase,
    *,
    start: float = 0.0,
    seconds: float | None = None,
) -> tuple[Float[np.ndarray, "samples channels"], int]:
    """(samples as float32, full scale 1; rate in Hz) of a file or a stretch of it.

    Args:
        file: a path, the bytes of a whole file, or a seekable stream over one.
        start: where to begin, in seconds; found by seeking.
        seconds: how much to read; None is to the end. A file that ends earlier gives less.

    Raises:
        AudioError: as `audio_blocks`.
        OSError: the file cannot be read.
    """
    blocks = list(audio_blocks(file, start=start, seconds=seconds, block_seconds=3600.0))
    waves = [wave for wave, _ in blocks]
    return waves[0] if len(waves) == 1 else np.concatenate(waves), blocks[0][1]


def audio_blocks(
    file: pathlib.Path | bytes | BinaryIO | io.IOBase,
    *,
    start: float = 0.0,
    seconds: float | None = None,
    block_seconds: float = 30.0,
) -> Iterator[tuple[Float[np.ndarray, "samples channels"], int]]:
    """What `read_audio` gives, in consecutive blocks of `block_seconds`, or 64 MiB if that is less.

    Raises:
        AudioError: an empty file; not audio that libsndfile knows; no sample in the range; a sample that
            is not finite; a file that breaks off or is damaged within the range. The last two show only
            when the reading comes there, after the blocks before.
        OSError: the file cannot be read.
    """
    if not (math.isfinite(start) and start >= 0):
        raise AudioError(f"the start should be at 0 s or later, not at {start} s")
    if seconds is not None and not seconds > 0:
        raise AudioError(f"no samples in a range of {seconds} s")
    with _sound(file) as (sound, stream):
        yield from _blocks(sound, stream, start, seconds, block_seconds)


def to_mono(
    wave: Float[np.ndarray, "samples channels"], how: str = "mean"
) -> Float[np.ndarray, " samples"]:
    """The "mean" of all channels, or the "first" one (as the published training code).

    Raises:
        ValueError: another word.
    """
    if how not in ("mean", "first"):
        raise ValueError(f"to mono by {how!r}; it can be 'mean' or 'first'")
    channels = wave.shape[1]
    if how == "first" or channels == 1:
        return np.ascontiguousarray(wave[:, 0])
    return wave @ np.full(channels, 1 / channels, wave.dtype)


@contextlib.contextmanager
def _sound(file: pathlib.Path | bytes | BinaryIO | io.IOBase) -> Iterator[tuple[Any, Stream]]:
    """The open `soundfile.SoundFile` and what it reads from."""
    with contextlib.ExitStack() as stack:
        if isinstance(file, pathlib.Path):
            file = stack.enter_context(file.open("rb"))
        elif isinstance(file, bytes):
            file = io.BytesIO(file)
        stream = mp3.prepared(Stream(file))
        if stream.size == 0:
            raise AudioError("the file is empty")
        try:
            with mp3.silence(stream):
                sound = stack.enter_context(_SoundFile(cast(Any, stream)))
        except soundfile.LibsndfileError as error:
            stream.check()
            raise AudioError(f"{describe(stream)} ({_reason(error)})") from None
        if sound.samplerate not in RATES:
            raise AudioError(f"the header says {sound.samplerate} samples a second")
        yield sound, stream


def _blocks(
    sound: Any, stream: Stream, start: float, seconds: float | None, block_seconds: float
) -> Iterator[tuple[np.ndarray, int]]:
    rate, frames = sound.samplerate, sound.frames
    first = position = round(start * rate)
    wanted = math.inf if seconds is None else round((start + seconds) * rate)
    stop = int(min(frames, wanted))
    integers = sound.subtype.startswith("PCM")
    if not (stream.length_known and frames < _UNKNOWN):
        block_seconds = min(block_seconds, 30.0)  # memory for blocks that will not be full
    if first < stop and (failure := _seek(sound, stream, first)):
        raise AudioError(
            f"no samples from {start:g} s on: it ends before or is damaged ({failure})"
        )
    most = max(1, min(round(block_seconds * rate), BLOCK_SAMPLES // sound.channels))
    while position < stop:
        count = min(most, stop - position)
        block, failure = _read(sound, stream, count)
        if not integers and not np.isfinite(block).all():
            bad = position + int(np.argmin(np.isfinite(block).all(axis=1)))
            raise AudioError(f"a sample that is not finite at {bad / rate:.3f} s")
        position += len(block)
        if failure:
            raise AudioError(f"damaged or cut off at {position / rate:.2f} s ({failure})")
        if len(block):
            yield block, rate
        if len(block) < count:
            break
    if position < wanted:
        _check_end(sound, stream, position)
    if position == first:
        raise AudioError(f"no samples from {start:g} s on: it ends before")


def _check_end(sound: Any, stream: Stream, position: int) -> None:
    """Raises AudioError if there should be more than the `position` samples that were found."""
    rate, frames = sound.samplerate, sound.frames
    missing = 0.0  # seconds
    if stream.length_known and frames < _UNKNOWN:
        missing = (frames - position) / rate
    if lost := missing_bytes(stream):
        missing += lost / stream.size * frames / rate if frames else math.inf
    if missing > TOLERANCE_SECONDS:
        more = f"{missing:.2f} s more" if math.isfinite(missing) else "more"
        raise AudioError(f"cut off at {position / rate:.2f} s, where its header announces {more}")


def _seek(sound: Any, stream: Stream, position: int) -> str | None:
    """Goes to a sample; why not, if it cannot."""
    early = _MP3_MEMORY if sound.format == "MP3" else 0
    failure = None
    try:
        if position:
            with mp3.silence(stream):
                sound.seek(max(0, position - early))
                sound.read(out=np.empty((min(position, early), sound.channels), np.float32))
    except soundfile.LibsndfileError as error:
        failure = _reason(error)
    stream.check()
    return failure


def _read(sound: Any, stream: Stream, count: int) -> tuple[np.ndarray, str | None]:
    """The next samples, and why there are fewer than `count` if that is for a failure."""
    block, failure = np.empty((count, sound.channels), np.float32), None
    if sound.format in _COMPRESSED:
        block.fill(np.nan)  # libsndfile does not tell how far it came
    try:
        with mp3.silence(stream):
            block = sound.read(out=block)
    except soundfile.LibsndfileError as error:
        rest = np.isnan(block[:, 0])
        block = block[: int(np.argmax(rest)) if rest.any() else count]
        failure = _reason(error)
    stream.check()
    return block, failure


def _reason(error: Any) -> str:
    return error.error_string.removeprefix("Error : ").rstrip(".")
