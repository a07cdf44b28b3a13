"""What the page shows of one clip: its sound, pictures of it, and what is known about it."""

import base64
import dataclasses
import io
from typing import Any

import numpy as np
from jaxtyping import Float

from ldm_jax.audio.reading import AudioError, read_audio, to_mono
from ldm_jax.audio.resampling import resample
from ldm_jax.data.clip import Clip
from ldm_jax.data.rows import Row, sound_of

PLAYED_SECONDS = 30.0  # of a longer clip the beginning is shown, so that the page stays small
PLAYED_RATE = 48_000  # in Hz, at most, of a clip that is encoded for the page
QUALITIES = {1: "vague", 2: "from a clear name", 3: "exact"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """One clip on the page.

    Attributes:
        name: of the clip.
        split: "" where there are none.
        kind: sound, music, speech, or "".
        captions: all of them.
        transcript: "" where there is none.
        facts: (term, value) pairs for its table.
        wave: what is played, mono, full scale 1; empty where the clip cannot be read.
        rate: of `wave` in Hz.
        sound: the file that is played, FLAC or Ogg.
        note: said beside the player, as that it is only the beginning.
        problem: why the clip cannot be read; "" where it can.
    """

    name: str
    split: str
    kind: str
    captions: tuple[str, ...]
    transcript: str
    facts: tuple[tuple[str, str], ...]
    wave: Float[np.ndarray, " samples"]
    rate: int
    sound: bytes
    note: str = ""
    problem: str = ""

    @property
    def seconds(self) -> float:
        """How long `wave` is."""
        return len(self.wave) / self.rate

    @property
    def data_uri(self) -> str:
        """`sound` for the page."""
        kind = "audio/flac" if self.sound.startswith(b"fLaC") else "audio/ogg"
        return f"data:{kind};base64,{base64.b64encode(self.sound).decode()}"


def row_card(row: Row, split: str) -> Card:
    """The card of a prepared row. A row of at most 30 s is played from the dataset's own bytes."""
    facts = (
        ("length", duration(row.seconds)),
        ("loudness", f"{row.loudness:.1f} dBFS"),
        ("peak", f"{decibels(row.peak):.1f} dBFS"),
        ("rate", f"{row.sample_rate:,} Hz"),
        *_described(row),
        ("starts at", duration(row.start) if row.start else ""),
        ("hash", row.hash),
    )
    about = _about(row, split)
    try:
        wave = sound_of(row, count=round(PLAYED_SECONDS * row.sample_rate))
    except AudioError as error:
        return _broken(about, facts, str(error))
    whole = row.seconds <= PLAYED_SECONDS
    return Card(
        **about,
        facts=_filled(facts),
        wave=wave,
        rate=row.sample_rate,
        sound=row.audio if whole else _flac(wave, row.sample_rate),
        note="" if whole else _beginning(row.seconds),
    )


def clip_card(clip: Clip) -> Card:
    """The card of a clip of a source, read from where it lies; its channels are played as their mean."""
    about = _about(clip, clip.split or "")
    seconds = PLAYED_SECONDS if clip.seconds is None else min(clip.seconds, PLAYED_SECONDS)
    known = ("starts at", duration(clip.start) if clip.start else ""), ("file", str(clip.audio))
    try:
        with clip.audio.open() as file:
            channels, rate = read_audio(file, start=clip.start, seconds=seconds)
    except (OSError, ValueError) as error:
        return _broken(about, (*_described(clip), *known), str(error))
    wave = to_mono(channels)
    cut = clip.seconds is None and len(wave) >= round(seconds * rate)
    power = float(np.mean(np.square(wave, dtype=np.float64)))
    facts = (
        ("length", f"{'at least ' if cut else ''}{duration(clip.seconds or len(wave) / rate)}"),
        ("loudness", f"{decibels(power**0.5):.1f} dBFS"),
        ("peak", f"{decibels(float(np.abs(wave).max())):.1f} dBFS"),
        ("rate", f"{rate:,} Hz"),
        ("channels", str(channels.shape[1])),
        *_described(clip),
        *known,
    )
    longer = cut or (clip.seconds or 0) > PLAYED_SECONDS
    return Card(
        **about,
        facts=_filled(facts),
        wave=wave,
        rate=rate,
        sound=_flac(wave, rate),
        note=_beginning(clip.seconds) if longer else "",
    )


def duration(seconds: float) -> str:
    """As "9.3 s", "2:05" or "1:02:05"."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def decibels(amplitude: float) -> float:
    """20 log10, at least -120."""
    return 20 * float(np.log10(max(amplitude, 1e-6)))


def _about(item: Row | Clip, split: str) -> dict[str, Any]:
    return {
        "name": item.name,
        "split": split,
        "kind": item.kind,
        "captions": item.captions,
        "transcript": item.transcript,
    }


def _described(item: Row | Clip) -> tuple[tuple[str, str], ...]:
    return (
        ("labels", ", ".join(item.labels)),
        ("language", item.language),
        ("speaker", item.speaker),
        ("captions are", QUALITIES.get(item.quality, "")),
        ("origin", item.origin),
        ("licence", item.licence),
        ("group", item.group if item.group != item.name else ""),
    )


def _filled(facts: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((term, value) for term, value in facts if value)


def _broken(about: dict[str, Any], facts: tuple[tuple[str, str], ...], problem: str) -> Card:
    return Card(
        **about,
        facts=_filled(facts),
        wave=np.zeros(0, np.float32),
        rate=1,
        sound=b"",
        problem=problem,
    )


def _beginning(seconds: float | None) -> str:
    whole = f" of {duration(seconds)}" if seconds else ""
    return f"the first {PLAYED_SECONDS:g} s{whole}"


def _flac(wave: Float[np.ndarray, " samples"], rate: int) -> bytes:
    """At most 48 kHz, which any browser plays."""
    import soundfile

    file = io.BytesIO()
    wave, rate = resample(wave, rate, min(rate, PLAYED_RATE)), min(rate, PLAYED_RATE)
    samples = np.rint(np.clip(wave, -1, 1) * 32767).astype(np.int16)
    soundfile.write(file, samples, rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()
