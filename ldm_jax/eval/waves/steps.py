"""What tools do to a wave before a network hears it, step by step.

A step takes (wave, rate in Hz) and gives both back. The first one that makes a wave mono takes it from
(samples, channels) to (samples,). The representation of a step tells all that decides its numbers: it is part of the
key under which features are cached.
"""

import dataclasses
import math
import threading
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from ldm_jax.audio.resampling import resample
from ldm_jax.audio.sinc_resampling import sinc_resample

Wave = Float[np.ndarray, "..."]
_IMPORTING = threading.Lock()


@runtime_checkable
class Step(Protocol):
    """A rule."""

    def __call__(self, wave: Wave, rate: int) -> tuple[Wave, int]:
        """The wave by this rule, and its rate then."""
        ...


@dataclasses.dataclass(frozen=True)
class FirstChannel:
    """The first channel, whatever the others hold."""

    def __call__(self, wave: Wave, rate: int) -> tuple[Wave, int]:
        """(samples, channels) to (samples,)."""
        return np.ascontiguousarray(wave[:, 0]), rate


@dataclasses.dataclass(frozen=True)
class MeanOfChannels:
    """All channels alike."""

    def __call__(self, wave: Wave, rate: int) -> tuple[Wave, int]:
        """(samples, channels) to (samples,)."""
        return (wave[:, 0].copy() if wave.shape[1] == 1 else wave.mean(axis=1)), rate


@dataclasses.dataclass(frozen=True)
class Wide:
    """In float64 from here on."""

    def __call__(self, wave: Wave, rate: int) -> tuple[Wave, int]:
        """The same numbers."""
        return wave.astype(np.float64), rate


@dataclasses.dataclass(frozen=True)
class Centre:
    """x - mean(x): no direct current."""

    def __call__(self, wave: Wave, rate: int) -> tuple[Wave, int]:
        """The wave about 0."""
        return wave - wave.mean(), rate


@dataclasses.dataclass(frozen=True)
class Sinc:
    """`sinc_resample`; see there."""

    rate: int
    width: int = 6
    rolloff: float = 0.99
    beta: float | None = None
    wide: bool = False  # filters made in float64

    def __call__(self, wave: Wave, rate: int) -> tuple[Wave, int]:
        """At the new rate."""
        made: Any = sinc_resample(  # of the wave's own kind
            wave,
            rate,
            self.rate,
            width=self.width,
            rolloff=self.rolloff,
            beta=self.beta,
            precision=np.float64 if self.wide else np.float32,
        )
        return made, self.rate


@dataclasses.dataclass(frozen=True)
class Soxr:
    """soxr's high quality, round(samples ratio) of them; with `librosa` as many as librosa counts."""

    rate: int
    librosa: bool = False

    def __call__(self, wave: Wave, rate: int) -> tuple[Wave, int]:
        """At the new rate."""
        made = resample(wave, rate, self.rate)
        if self.librosa:
            # In floating point as librosa, which makes 44.1 kHz to 48 kHz one sample longer than it should be.
            length = math.ceil(len(wave) * (self.rate / rate))
            made = np.pad(made[:length], (0, max(0, length - len(made))))
        return made, self.rate


@dataclasses.dataclass(frozen=True)
class Resampy:
    """resampy's "kaiser_best"; with `decimate` every k-th sample, unfiltered, where the rate is k times the new."""

    rate: int
    decimate: bool = False

    def __call__(self, wave: Wave, rate: int) -> tuple[Wave, int]:
        """At the new rate."""
        if rate == self.rate:
            return wave, rate
        if self.decimate and rate % self.rate == 0:
            return wave[:: rate // self.rate], self.rate
        if int(len(wave) * self.rate / rate) < 1:
            return wave[:0], self.rate  # resampy raises
        return _resampy()(wave, rate, self.rate, filter="kaiser_best"), self.rate


def _resampy() -> Any:
    """Its `resample`, imported when first asked for: it compiles its loops, slowly.

    librosa leaves a module that loads itself on its first use, and before Python 3.12 not for two threads at once: the
    second one finds it empty.
    """
    with _IMPORTING:
        import resampy

        return resampy.resample


@dataclasses.dataclass(frozen=True)
class To16Bits:
    """floor(scale x) or trunc(scale x) / scale, clipped at full scale."""

    scale: int
    truncate: bool = False  # towards 0

    def __call__(self, wave: Wave, rate: int) -> tuple[Wave, int]:
        """The wave on the grid of 16-bit samples."""
        scaled = wave * wave.dtype.type(self.scale)
        whole = np.trunc(scaled) if self.truncate else np.floor(scaled)
        low = -self.scale if self.truncate else -32_768
        return np.clip(whole, low, 32_767) / wave.dtype.type(self.scale), rate


@dataclasses.dataclass(frozen=True)
class Cut:
    """The first `samples` at most."""

    samples: int

    def __call__(self, wave: Wave, rate: int) -> tuple[Wave, int]:
        """A shorter wave."""
        return wave[: self.samples], rate


@dataclasses.dataclass(frozen=True)
class Pad:
    """Silence behind, up to `samples`."""

    samples: int

    def __call__(self, wave: Wave, rate: int) -> tuple[Wave, int]:
        """A longer wave."""
        return np.pad(wave, (0, max(0, self.samples - len(wave)))), rate


@dataclasses.dataclass(frozen=True)
class Peak:
    """g x with the largest |x| at `level` of full scale; silence stays."""

    level: float

    def __call__(self, wave: Wave, rate: int) -> tuple[Wave, int]:
        """A louder or softer wave."""
        top = np.abs(wave).max(initial=0.0)
        return (wave * wave.dtype.type(self.level / top) if top > 0 else wave), rate


@dataclasses.dataclass(frozen=True)
class Halve:
    """x / (max |x| + 1e-8) / 2."""

    def __call__(self, wave: Wave, rate: int) -> tuple[Wave, int]:
        """A wave of peak 0.5."""
        return wave / (np.abs(wave).max(initial=0.0) + 1e-8) / 2, rate
