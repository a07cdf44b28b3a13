"""One training example's sound and text: a stretch of a clip, shaped as AudioLDM 2's training did.

The rules are those of the published training code (github.com/haoheliu/AudioLDM-training-finetuning): a random stretch,
drawn again up to ten times where it is silent; its mean taken out and its peak set to 0.5; zeros behind.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from ldm_jax.audio.resampling import resample
from ldm_jax.data.mixing import join_captions, mix
from ldm_jax.data.rows import Row, sound_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segment:
    """One example before it is turned into features.

    Attributes:
        wave: as many samples as every other example has, at `sample_rate`.
        sample_rate: in Hz.
        samples: of `wave` that are sound and not padding.
        caption: one text; "" where there is none.
        transcript: what is spoken; "" where nothing is, or where the stretch is not the whole clip.
        labels: classes of the clip.
        start: of the stretch in its row, in seconds.
    """

    wave: Float[np.ndarray, " length"]
    sample_rate: int
    samples: int
    caption: str
    transcript: str
    labels: tuple[str, ...]
    start: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shaping:
    """How a row becomes a segment. The defaults are the published ones; augmentation is off.

    Attributes:
        sample_rate: in Hz; rows at another rate are resampled.
        seconds: length of every segment.
        random_start: False always takes the beginning, for validation.
        tries: how often a stretch is drawn while its peak is at most `silence`.
        silence: full scale 1.
        peak: mean out and peak set to this; None leaves the wave as it is.
        padding: of short clips: "end" puts zeros behind, "random" on both sides, "repeat" repeats the clip but for
            speech, which gets zeros behind.
        roll: turn the segment round in time by a random amount (AudioMAE's pretraining).
        gain: multiply by a factor drawn from Beta(10, 10) + 0.5, that is 1 +- 0.11 (AudioMAE's pretraining).
        mix: probability of mixing with a second clip at equal loudness, captions joined (TANGO, ConsistencyTTA). Clips
            without caption and spoken ones are left alone.
        caption: "any" of a clip's captions at random, or the "first".
    """

    sample_rate: int = 16_000
    seconds: float = 10.24
    random_start: bool = True
    tries: int = 10
    silence: float = 1e-4
    peak: float | None = 0.5
    padding: Literal["end", "random", "repeat"] = "end"
    roll: bool = False
    gain: bool = False
    mix: float = 0.0
    caption: Literal["any", "first"] = "any"

    @property
    def length(self) -> int:
        """Samples of a segment."""
        return round(self.seconds * self.sample_rate)


def segment(
    row: Row,
    shaping: Shaping,
    generator: np.random.Generator,
    *,
    second: Row | None = None,
    names: Mapping[str, str] | None = None,
) -> Segment:
    """The segment of `row` that `generator` draws, mixed with one of `second` if that is given and both can be mixed.

    Args:
        row: a prepared clip.
        shaping: how.
        generator: all that is random comes from it.
        second: a clip to mix with.
        names: words for labels, as "Dog" for "/m/0bt9lr", where a clip has labels and no caption.

    Raises:
        AudioError: the row's sound cannot be decoded.
    """
    one = _shaped(row, shaping, generator, names)
    if second is not None and _mixable(row, one):
        other = _shaped(second, shaping, generator, names)
        if _mixable(second, other):
            wave = mix(one.wave, other.wave, sample_rate=shaping.sample_rate)
            one = dataclasses.replace(
                one,
                wave=wave if shaping.peak is None else _to_peak(wave, shaping.peak),
                samples=max(one.samples, other.samples),
                caption=join_captions(one.caption, other.caption),
                labels=tuple(dict.fromkeys(one.labels + other.labels)),
            )
    return _augmented(one, shaping, generator)


def caption_of(
    row: Row,
    generator: np.random.Generator | None = None,
    names: Mapping[str, str] | None = None,
) -> str:
    """One of the captions at random, or the first without `generator`; without any, the labels: "Dog, Rain."."""
    if row.captions:
        pick = 0 if generator is None else int(generator.integers(len(row.captions)))
        return row.captions[pick]
    words = [(names or {}).get(label, label) for label in row.labels]
    return ", ".join(words) + "." if words else ""


def may_repeat(row: Row) -> bool:
    """Whether a short clip may be filled up with itself: never speech."""
    return not row.transcript and row.kind != "speech"


def _mixable(row: Row, one: Segment) -> bool:
    return bool(one.caption) and not row.transcript


def _shaped(
    row: Row, shaping: Shaping, generator: np.random.Generator, names: Mapping[str, str] | None
) -> Segment:
    caption = caption_of(row, generator if shaping.caption == "any" else None, names)
    wave, start = _stretch(row, shaping, generator)
    if shaping.peak is not None:
        wave = _to_peak(wave, shaping.peak)
    whole = row.seconds <= shaping.seconds
    return Segment(
        wave=_padded(wave, row, shaping, generator),
        sample_rate=shaping.sample_rate,
        samples=len(wave),
        caption=caption,
        transcript=row.transcript if whole else "",
        labels=row.labels,
        start=start,
    )


def _stretch(
    row: Row, shaping: Shaping, generator: np.random.Generator
) -> tuple[Float[np.ndarray, " samples"], float]:
    """(at most `length` samples, where they begin in seconds)."""
    wanted = round(shaping.seconds * row.sample_rate)
    spare = row.samples - wanted
    for _ in range(shaping.tries if spare > 0 and shaping.random_start else 1):
        first = int(generator.integers(spare + 1)) if spare > 0 and shaping.random_start else 0
        wave = sound_of(row, first=first, count=wanted)
        if max(wave.max(), -wave.min()) > shaping.silence:
            break
    return resample(wave, row.sample_rate, shaping.sample_rate)[
        : shaping.length
    ], first / row.sample_rate


def _to_peak(wave: Float[np.ndarray, " n"], peak: float) -> Float[np.ndarray, " n"]:
    wave = wave - wave.mean()
    return wave * (peak / (max(wave.max(), -wave.min()) + 1e-8))


def _padded(
    wave: Float[np.ndarray, " n"], row: Row, shaping: Shaping, generator: np.random.Generator
) -> Float[np.ndarray, " length"]:
    missing = shaping.length - len(wave)
    if not missing:
        return wave
    if shaping.padding == "repeat" and may_repeat(row):
        return np.resize(wave, shaping.length)
    before = int(generator.integers(missing + 1)) if shaping.padding == "random" else 0
    return np.pad(wave, (before, missing - before))


def _augmented(one: Segment, shaping: Shaping, generator: np.random.Generator) -> Segment:
    changes: dict[str, Any] = {}
    wave = one.wave
    if shaping.roll:
        wave = np.roll(wave, int(generator.integers(len(wave))))
        changes["samples"] = len(wave)
    if shaping.gain:
        wave = wave * np.float32(generator.beta(10, 10) + 0.5)
    return dataclasses.replace(one, wave=wave, **changes)
