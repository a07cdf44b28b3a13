"""Two sounds as one, equally loud to the ear, and their captions as one.

Between-class mixing (Tokozume, Ushiku and Harada, arXiv 1711.10282), as TANGO (Ghosal et al., arXiv 2304.13731) and
ConsistencyTTA train with it.
"""

import functools

import numpy as np
from jaxtyping import Float

_FLOOR_DB = -80.0


def mix(
    one: Float[np.ndarray, " samples"],
    other: Float[np.ndarray, " samples"],
    *,
    sample_rate: int,
    ratio: float = 0.5,
) -> Float[np.ndarray, " samples"]:
    """(p x1 + (1 - p) x2) / sqrt(p^2 + (1 - p)^2) with p = 1 / (1 + 10^((G1 - G2) / 20) (1 - r) / r).

    G is `a_weighted_level`, so that at ratio r = 0.5 both are equally loud in the mix.

    Args:
        one: a wave.
        other: another of the same length.
        sample_rate: in Hz.
        ratio: r, the share of the first, above 0 and below 1.
    """
    levels = [a_weighted_level(wave, sample_rate=sample_rate) for wave in (one, other)]
    p = 1 / (1 + 10 ** ((levels[0] - levels[1]) / 20) * (1 - ratio) / ratio)
    return ((p * one + (1 - p) * other) / np.hypot(p, 1 - p)).astype(one.dtype)


def a_weighted_level(wave: Float[np.ndarray, " samples"], *, sample_rate: int) -> float:
    """The A-weighted power of the loudest window, in dB, at least -80 dB.

    Windows (Hann) last 128 ms at 16 kHz, or the power of two of samples next to that, and overlap by half. The weights
    are IEC 61672's, cut off at -80 dB.
    """
    window = 2 ** round(np.log2(0.128 * sample_rate))
    wave = np.pad(wave, (0, max(window - len(wave), 0)))
    starts = np.arange(0, len(wave) - window + 1, window // 2)
    frames = wave[starts[:, None] + np.arange(window)] * np.hanning(window)
    power = np.abs(np.fft.rfft(frames)) ** 2 @ _weights(sample_rate, window)
    return float(10 * np.log10(max(power.max(), 10 ** (_FLOOR_DB / 10))))


def join_captions(one: str, other: str) -> str:
    """The caption of a mix: of "A dog barks." and "Rain falls" it is "A dog barks and rain falls"."""
    one = one.rstrip().removesuffix(".")
    acronym = other[:2].isalpha() and other[:2].isupper()
    return f"{one} and {other if acronym else other[:1].lower() + other[1:]}"


@functools.cache
def _weights(sample_rate: int, window: int) -> Float[np.ndarray, " bins"]:
    """A-weighting of each frequency of the transform, as a factor of power."""
    import librosa

    frequencies = librosa.fft_frequencies(sr=sample_rate, n_fft=window)
    with np.errstate(divide="ignore"):  # 0 Hz has the weight -infinity, cut off below
        return 10 ** (librosa.A_weighting(frequencies, min_db=_FLOOR_DB) / 10)
