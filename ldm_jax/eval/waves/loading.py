"""Reading one file by one rule."""

import dataclasses

import numpy as np
from jaxtyping import Float

from ldm_jax.audio.reading import AudioError, read_audio
from ldm_jax.eval.clips import Clip
from ldm_jax.eval.waves.steps import Cut, FirstChannel, MeanOfChannels, Pad, Step, To16Bits, Wave

SILENCE = 2.0**-16  # full scale 1: half a step of 16 bits


@dataclasses.dataclass(frozen=True)
class Loading:
    """How a file becomes a mono wave.

    Attributes:
        rate: of the wave, in Hz.
        steps: in order; one of them makes the wave mono. Their representation is part of the key of cached features.
    """

    rate: int
    steps: tuple[Step, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loaded:
    """One clip, ready for a network.

    Attributes:
        wave: mono, full scale 1.
        rate: in Hz.
        seconds: of the clip as it lies on disk.
        remarks: what a rule did to it that a reader of figures may want to know, a sentence each.
    """

    wave: Float[np.ndarray, " samples"]
    rate: int
    seconds: float
    remarks: tuple[str, ...]


def load(clip: Clip, loading: Loading, *, narrow: bool = True) -> Loaded:
    """A clip's wave.

    Args:
        clip: the file, or a stretch of it.
        loading: the rule.
        narrow: in float32, as networks take it; else in the type that the steps leave.

    Raises:
        AudioError: not audio, empty, damaged, or with samples that are not finite.
        OSError: the file cannot be read.
    """
    wave, rate = read_audio(clip.path, start=clip.start, seconds=clip.seconds)
    seconds = len(wave) / rate
    remarks = list(_of_file(wave, rate, loading.rate))
    now: Wave = wave
    at = rate
    for step in loading.steps:
        before = now
        now, at = step(before, at)
        if not len(now):
            raise AudioError(f"{len(wave)} samples at {rate} Hz are less than one at {at} Hz")
        remarks += _of_step(step, before, now, at)
    if "silent" not in remarks and np.abs(now).max() < SILENCE:
        remarks.append("nothing audible in what is left of it")
    return Loaded(
        wave=np.ascontiguousarray(now, np.float32 if narrow else now.dtype),
        rate=at,
        seconds=seconds,
        remarks=tuple(dict.fromkeys(remarks)),
    )


def _of_file(wave: Float[np.ndarray, "samples channels"], rate: int, wanted: int) -> list[str]:
    remarks = []
    if np.abs(wave).max(initial=0.0) < SILENCE:
        remarks.append("silent")
    if rate < min(wanted, 16_000):
        remarks.append(f"{rate} Hz: nothing above {rate / 2000:g} kHz can be in it")
    if rate > 48_000:  # the highest at which sound is usually kept
        remarks.append(f"{rate} Hz: brought to {wanted} Hz")
    return remarks


def _of_step(step: Step, before: Wave, after: Wave, rate: int) -> list[str]:
    if isinstance(step, FirstChannel) and before.shape[1] > 1:
        return [f"{before.shape[1]} channels: the first was taken"]
    if isinstance(step, MeanOfChannels) and before.shape[1] > 1:
        return [f"{before.shape[1]} channels: their mean was taken"]
    if isinstance(step, Pad) and len(after) > len(before):
        return [f"padded with silence to {len(after) / rate:g} s"]
    if isinstance(step, Cut) and len(after) < len(before):
        return [f"cut to its first {len(after) / rate:g} s"]
    if isinstance(step, To16Bits) and np.abs(before).max(initial=0.0) > 1:
        return ["louder than full scale: clipped to 16 bits"]
    return []
