"""From a clip to rows: read, one channel, one rate, cut, judged, stored."""

import dataclasses
import hashlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int16

from ldm_jax.audio.reading import AudioError, audio_blocks, to_mono
from ldm_jax.audio.resampling import Resampler
from ldm_jax.data.clip import Clip
from ldm_jax.data.prepare.codec import encode
from ldm_jax.data.prepare.journal import LeftOut
from ldm_jax.data.prepare.settings import Settings
from ldm_jax.data.rows import Row

SILENCE = 1e-4  # largest magnitude of what is silent, -80 dB of full scale
LOUDEST = 8.0  # largest magnitude that is taken for full scale 1; decoders of lossy files overshoot it a little
FULL_SCALE = 32_768


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
    """A row, and of its source: the rate in Hz, the channels, and how many samples were cut off at the end."""

    row: Row
    rate: int
    channels: int
    cut_off: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Stretch:
    """A stretch of a clip, mono at the wanted rate; `still` where the source's samples do not move."""

    wave: Float[np.ndarray, " samples"]
    still: bool
    rate: int
    channels: int


def make_rows(clip: Clip, settings: Settings) -> Iterator[Made | LeftOut]:
    """The rows of a clip in the order of their sound, and what had to be left out of it.

    A clip longer than `settings.max_seconds` gives consecutive rows. It never lies in memory whole. Whatever is
    wrong with it ends in a `LeftOut` and not in an exception.
    """
    count = 0
    try:
        for made in _rows(clip, settings):
            yield made
            count += 1
    except Exception as error:  # one clip of a million must not end the work on all the others
        yield LeftOut(name=clip.name, why="unreadable", reason=_sentence(error, clip, count))


def _sentence(error: Exception, clip: Clip, count: int) -> str:
    if isinstance(error, AudioError):
        words = str(error)
    elif isinstance(error, OSError):
        words = f"{error.strerror}: {clip.audio}" if error.strerror else str(error)
    else:
        words = f"{type(error).__name__}: {error}"
    return f"{words}; the {count} pieces before it are kept" if count else words


def _rows(clip: Clip, settings: Settings) -> Iterator[Made | LeftOut]:
    size = settings.max_samples
    least = max(1, round(settings.min_seconds * settings.rate))
    wave, still, index = np.zeros(0, np.float32), True, 0
    stretch = None
    for stretch in _stretches(clip, settings):
        wave = np.concatenate([wave, stretch.wave])
        still = still and stretch.still
        while len(wave) >= size + least:  # what remains will make a row too
            if clip.transcript:
                yield _too_long(clip, settings)
                return
            piece = dataclasses.replace(stretch, wave=wave[:size], still=still)
            yield _judge(clip, piece, settings, index=index, last=False)
            wave, still, index = wave[size:], stretch.still, index + 1
    if stretch is not None:
        piece = dataclasses.replace(stretch, wave=wave, still=still)
        yield _judge(clip, piece, settings, index=index, last=True)


def _too_long(clip: Clip, settings: Settings) -> LeftOut:
    return LeftOut(
        name=clip.name,
        why="long",
        reason=f"longer than {settings.max_seconds:g} s, and its transcript is for the whole: see --max-seconds",
    )


def _stretches(clip: Clip, settings: Settings) -> Iterator[_Stretch]:
    resampler = None
    rate = channels = 0
    with clip.audio.open() as file:
        for block, rate in audio_blocks(
            file, start=clip.start, seconds=clip.seconds, block_seconds=settings.max_seconds
        ):
            resampler = resampler or Resampler(rate, settings.rate)
            channels = block.shape[1]
            mono = to_mono(block, settings.channels)
            # Told before resampling, which makes the ends of a constant ring.
            still = bool(np.ptp(mono) < 2 * SILENCE)
            yield _Stretch(wave=resampler(mono), still=still, rate=rate, channels=channels)
    if resampler is not None:
        rest = resampler(np.zeros(0, np.float32), last=True)
        yield _Stretch(wave=rest, still=True, rate=rate, channels=channels)


def _judge(
    clip: Clip, piece: _Stretch, settings: Settings, *, index: int, last: bool
) -> Made | LeftOut:
    """A row of a piece that is long, loud and lively enough."""
    name = clip.name if last and index == 0 else f"{clip.name}#{index}"
    wave = piece.wave[: settings.max_samples]
    seconds = len(wave) / settings.rate
    peak = float(np.abs(wave).max(initial=0.0))
    if seconds < settings.min_seconds or not len(wave):
        reason = f"{len(wave):,} samples, where {settings.min_seconds:g} s are asked for"
        return LeftOut(name=name, why="short", reason=reason)
    if piece.still or peak < SILENCE:
        reason = "constant" if piece.still and peak >= SILENCE else "nothing above -80 dBFS"
        return LeftOut(name=name, why="silent", reason=f"{reason} in {seconds:.4g} s")
    if peak > LOUDEST:
        reason = f"the largest sample is {peak:.6g}, where full scale is 1"
        return LeftOut(name=name, why="scale", reason=reason)
    samples = _quantize(wave)
    row = Row(
        audio=encode(samples, rate=settings.rate, codec=settings.codec),
        sample_rate=settings.rate,
        samples=len(samples),
        name=name,
        start=clip.start + index * settings.max_samples / settings.rate,
        **_measure(samples),
        **{field: getattr(clip, field) for field in _SHARED},
    )
    cut_off = len(piece.wave) - len(wave)
    return Made(row=row, rate=piece.rate, channels=piece.channels, cut_off=cut_off)


_SHARED = sorted(
    {field.name for field in dataclasses.fields(Clip)}
    & {field.name for field in dataclasses.fields(Row)} - {"audio", "name", "start"}
)


def _quantize(wave: Float[np.ndarray, " samples"]) -> Int16[np.ndarray, " samples"]:
    """By rounding, so that 16-bit sources at the wanted rate stay as they are."""
    return np.clip(np.rint(wave * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def _measure(samples: Int16[np.ndarray, " samples"]) -> dict:
    wave = samples.astype(np.float64) / FULL_SCALE
    return {
        "peak": float(np.float32(np.abs(wave).max())),
        "loudness": float(np.float32(10 * np.log10(np.square(wave).mean()))),
        "hash": hashlib.blake2b(samples.astype("<i2").tobytes(), digest_size=16).hexdigest(),
    }
