"""What a batch holds: each feature turns a segment into arrays of fixed shape, on the host.

A training stage names the features it needs; `STAGES` has them for the stages of AudioLDM 2.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ldm_jax.audio.clap_features import SAMPLE_RATE as CLAP_RATE
from ldm_jax.audio.clap_features import clap_features
from ldm_jax.audio.kaldi import AUDIOMAE_FRAMES, AUDIOMAE_RATE, audiomae_input
from ldm_jax.audio.log_mel import MEL_16K, LogMelSettings, fit_frames, log_mel
from ldm_jax.audio.resampling import resample
from ldm_jax.audio.stft import magnitude
from ldm_jax.data.segments import Segment
from ldm_jax.text.phonemes import PhonemeTokenizer, phoneme_ids
from ldm_jax.text.tokenizers import TextTokenizer

Arrays = dict[str, Any]  # NumPy's arrays and scalars by name


# A frozen, picklable rule from a segment to named arrays without a batch axis, of the same shapes for every segment.
Feature = Callable[[Segment], Arrays]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wave:
    """`wave` (length,) float32 at `sample_rate`, and `samples` (): how many of them are sound."""

    sample_rate: int | None = None

    def __call__(self, segment: Segment) -> Arrays:
        """The wave, resampled where another rate is asked for."""
        rate = self.sample_rate or segment.sample_rate
        samples = segment.samples * rate // segment.sample_rate
        return {"wave": _at(segment, rate), "samples": np.int32(samples)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogMel:
    """`log_mel` (frames, mels): the VAE's input and the vocoder's.

    Attributes:
        settings: rate, transform and bands.
        frames: short ones are filled up with 0 and long ones cut, as published; None leaves them as they come.
    """

    settings: LogMelSettings = MEL_16K
    frames: int | None = None

    def __call__(self, segment: Segment) -> Arrays:
        """ln(max(mel, 1e-5)) of the magnitude spectrum."""
        mel = log_mel(_at(segment, self.settings.sample_rate), self.settings)
        return {"log_mel": mel if self.frames is None else fit_frames(mel, self.frames)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Magnitude:
    """`magnitude` (frames, bins): the linear spectrogram, its odd last bin left out as published."""

    settings: LogMelSettings = MEL_16K

    def __call__(self, segment: Segment) -> Arrays:
        """|STFT| on the same frames as the log-mel."""
        mel = self.settings
        wave = _at(segment, mel.sample_rate)
        return {
            "magnitude": magnitude(wave, n_fft=mel.n_fft, hop=mel.hop, pad=mel.pad, even_bins=True)
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioMAEInput:
    """`fbank` (frames, 128): what AudioMAE sees."""

    frames: int = AUDIOMAE_FRAMES

    def __call__(self, segment: Segment) -> Arrays:
        """Kaldi's filter bank, normalised by AudioSet's mean and deviation."""
        fbank = audiomae_input(_at(segment, AUDIOMAE_RATE), frames=self.frames)
        return {"fbank": fbank.astype(np.float32, copy=False)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClapAudio:
    """`clap_audio` (1001, 64): what CLAP hears, of the sound without its padding."""

    padding: str = "repeatpad"

    def __call__(self, segment: Segment) -> Arrays:
        """The first 10 s at 48 kHz."""
        wave = resample(segment.wave[: max(segment.samples, 1)], segment.sample_rate, CLAP_RATE)
        return {"clap_audio": clap_features(wave, padding=self.padding).astype(np.float32)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokens:
    """`{name}_ids` (length,) int32 and `{name}_mask` (length,) bool of the caption.

    Attributes:
        name: "clap" or "t5".
        tokenizer: of that network.
        length: of every row; longer captions are cut.
    """

    name: str
    tokenizer: TextTokenizer
    length: int

    def __call__(self, segment: Segment) -> Arrays:
        """The caption's tokens; "" is its special tokens alone."""
        encoded = self.tokenizer([segment.caption], self.length, pad_to=self.length)
        return {f"{self.name}_ids": encoded.ids[0], f"{self.name}_mask": encoded.mask[0]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmptyTokens:
    """`empty_{name}_ids` (length,) int32: the tokens of "", for rows whose caption is taken away in training.

    Attributes:
        name: "clap" or "t5".
        tokenizer: of that network.
    """

    name: str
    tokenizer: TextTokenizer

    def __call__(self, segment: Segment) -> Arrays:
        """The special tokens alone, none of them padding; the same for every segment."""
        return {f"empty_{self.name}_ids": self.tokenizer([""]).ids[0]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phonemes:
    """`phoneme_ids` (length,) int32 and `phoneme_mask` (length,) bool of the transcript."""

    tokenizer: PhonemeTokenizer = dataclasses.field(default_factory=PhonemeTokenizer)

    def __call__(self, segment: Segment) -> Arrays:
        """The transcript's phonemes; a clip without one is a stop symbol alone."""
        encoded = phoneme_ids([segment.transcript], self.tokenizer)
        return {"phoneme_ids": encoded.ids[0], "phoneme_mask": encoded.mask[0]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Text:
    """`caption` and `transcript` (): for logs and for eyes; they stay on the host."""

    def __call__(self, segment: Segment) -> Arrays:
        """Python strings in arrays."""
        texts = {"caption": segment.caption, "transcript": segment.transcript}
        return {name: np.array(text, object) for name, text in texts.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextTokenizers:
    """What text features need; None leaves the feature out."""

    clap: TextTokenizer | None = None
    t5: TextTokenizer | None = None
    phonemes: PhonemeTokenizer | None = None
    clap_length: int = 128
    t5_length: int = 128

    def features(self) -> tuple[Feature, ...]:
        """Tokens of every tokeniser that there is."""
        found: list[Feature] = []
        if self.clap is not None:
            found.append(Tokens(name="clap", tokenizer=self.clap, length=self.clap_length))
        if self.t5 is not None:
            found.append(Tokens(name="t5", tokenizer=self.t5, length=self.t5_length))
        if self.phonemes is not None:
            found.append(Phonemes(tokenizer=self.phonemes))
        return tuple(found)

    def empty(self) -> tuple[Feature, ...]:
        """Tokens of "" of every tokeniser of text that there is."""
        named = (("clap", self.clap), ("t5", self.t5))
        return tuple(EmptyTokens(name=n, tokenizer=t) for n, t in named if t is not None)


def _ldm(text: TextTokenizers, mel: LogMelSettings, seconds: float) -> tuple[Feature, ...]:
    frames = round(seconds * mel.sample_rate / mel.hop)
    return (LogMel(settings=mel, frames=frames), AudioMAEInput(frames=_fbank_frames(seconds)))


def _fbank_frames(seconds: float) -> int:
    return round(seconds * 100)


Stage = Callable[[TextTokenizers, LogMelSettings, float], tuple[Feature, ...]]
# What each training stage reads, from (tokenisers, log-mel settings, seconds of a segment).
STAGES: dict[str, Stage] = {
    "vae": lambda text, mel, seconds: (
        LogMel(settings=mel, frames=round(seconds * mel.sample_rate / mel.hop)),
    ),
    "vocoder": lambda text, mel, seconds: (
        Wave(sample_rate=mel.sample_rate),
        LogMel(settings=mel),
    ),
    "audiomae": lambda text, mel, seconds: (AudioMAEInput(frames=_fbank_frames(seconds)),),
    "clap": lambda text, mel, seconds: (
        ClapAudio(),
        *dataclasses.replace(text, t5=None, phonemes=None).features(),
    ),
    "translator": lambda text, mel, seconds: (
        AudioMAEInput(frames=_fbank_frames(seconds)),
        *text.features(),
    ),
    "ldm": lambda text, mel, seconds: (*_ldm(text, mel, seconds), *text.features()),
    "ldm_clap_audio": lambda text, mel, seconds: (
        *_ldm(text, mel, seconds),
        ClapAudio(),
        *text.features(),
    ),
}


def _at(segment: Segment, rate: int) -> Any:
    """The whole wave at another rate."""
    return resample(segment.wave, segment.sample_rate, rate)
