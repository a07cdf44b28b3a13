"""Loudness after ITU-R BS.1770-5: what raters would otherwise hear first of all."""

import math

import numpy as np
from jaxtyping import Float
from scipy.signal import bilinear, lfilter

BLOCK_SECONDS = 0.4
STEP_SECONDS = 0.1
ABSOLUTE_GATE = -70.0  # LUFS
RELATIVE_GATE = -10.0  # LU below the mean of what passes the absolute gate
OFFSET = -0.691  # makes a sine of 997 Hz at full scale in one channel -3.01 LUFS
# Analogue prototypes whose bilinear transforms at 48 kHz are the coefficients printed in the recommendation.
SHELF_HERTZ, SHELF_DECIBELS, SHELF_Q = 1681.974450955533, 3.999843853973347, 0.7071752369554196
SHELF_SLOPE = 0.4996667741545416
HIGH_PASS_HERTZ, HIGH_PASS_Q = 38.13547087602444, 0.5003270373238773
HIGH_PASS_GAIN = 1.0049948987146884  # its numerator is printed as 1, -2, 1, which is not quite a gain of 1 up there


def integrated_loudness(wave: Float[np.ndarray, "samples channels"], rate: int) -> float:
    """Gated loudness in LUFS, L = -0.691 + 10 log10(sum over channels of the mean square of what K-weighting leaves).

    Blocks of 0.4 s, a quarter apart from start to start, count if they are above -70 LUFS, and then if they are
    above the mean of those less 10 LU. A clip shorter than a block is one block. K-weighting has a zero at 0 Hz, so
    that a constant offset is not heard; it is taken off before, because the filter would ring from its start.

    Args:
        wave: full scale 1, one channel or left and right.
        rate: Hz.

    Returns:
        -inf for silence, that is, where no block is above -70 LUFS.
    """
    heard = np.asarray(wave, np.float64) - np.mean(wave, axis=0, dtype=np.float64)
    for numerator, denominator in k_weighting(rate):
        heard = lfilter(numerator, denominator, heard, axis=0)
    power = _block_powers(np.square(heard).sum(axis=1), rate)
    power = power[power > 10 ** ((ABSOLUTE_GATE - OFFSET) / 10)]
    if not len(power):
        return -math.inf
    power = power[power > power.mean() * 10 ** (RELATIVE_GATE / 10)]
    return OFFSET + 10 * math.log10(power.mean())


def k_weighting(rate: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """(numerator, denominator) of the shelf, which stands for the head, and of the high-pass, at any rate in Hz."""
    gain = 10 ** (SHELF_DECIBELS / 20)
    shelf = _section(rate, SHELF_HERTZ, SHELF_Q, (gain, gain**SHELF_SLOPE, 1.0))
    high_pass = _section(rate, HIGH_PASS_HERTZ, HIGH_PASS_Q, (HIGH_PASS_GAIN, 0.0, 0.0))
    return shelf, high_pass


def _section(
    rate: int, hertz: float, q: float, top: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """(h s^2 + b s / q + l) / (s^2 + s / q + 1), with s in units of the prewarped `hertz`, as digital coefficients."""
    warped = 2 * rate * math.tan(math.pi * min(hertz / rate, 0.49))
    high, band, low = top
    numerator = [high / warped**2, band / (q * warped), low]
    denominator = [1 / warped**2, 1 / (q * warped), 1.0]
    digital = bilinear(numerator, denominator, fs=rate)
    return np.asarray(digital[0]), np.asarray(digital[1])


def _block_powers(square: np.ndarray, rate: int) -> np.ndarray:
    block, step = round(BLOCK_SECONDS * rate), round(STEP_SECONDS * rate)
    if len(square) < block:
        return square.mean(keepdims=True)
    total = np.concatenate([[0.0], np.cumsum(square)])
    starts = np.arange(0, len(square) - block + 1, step)
    return (total[starts + block] - total[starts]) / block
