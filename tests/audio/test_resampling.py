"""Resampling: tones keep their place and size, what is too high goes, and blocks make the whole."""

import numpy as np
import pytest

from ldm_jax.audio.resampling import Resampler, resample
from tests.golden import random_array, relative_error

RATES = [(8_000, 16_000), (44_100, 16_000), (192_000, 16_000), (16_000, 48_000), (11_025, 16_000)]


@pytest.mark.parametrize(("rate", "target"), RATES)
def test_a_tone_stays(rate, target):
    """440 Hz sampled at the new rate, without delay; away from the ends, where the filter sees silence."""
    x = np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    ours = resample(x, rate, target)
    expected = np.sin(2 * np.pi * 440 * np.arange(target) / target)
    assert ours.shape == expected.shape
    middle = slice(target // 10, -target // 10)
    assert np.abs(ours - expected)[middle].max() < 1e-5


def test_what_cannot_be_held_goes():
    """12 kHz is above the Nyquist frequency of 16 kHz: 100 dB down, not folded to 4 kHz."""
    x = np.sin(2 * np.pi * 12_000 * np.arange(48_000) / 48_000)
    assert np.abs(resample(x, 48_000, 16_000)[500:-500]).max() < 1e-5


@pytest.mark.parametrize(("rate", "target"), [*RATES, (16_000, 16_000)])
@pytest.mark.parametrize("block", [1_000, 4_097, 10**6])
def test_blocks_make_the_whole(rate, target, block):
    x = (0.1 * random_array("x", (30_011,))).astype(np.float32)
    stream = Resampler(rate, target)
    pieces = [stream(x[k : k + block], last=k + block >= len(x)) for k in range(0, len(x), block)]
    np.testing.assert_array_equal(np.concatenate(pieces), resample(x, rate, target))


def test_batches():
    x = random_array("x", (2, 3, 5_000)).astype(np.float32)
    ours = resample(x, 44_100, 16_000)
    assert ours.shape == (2, 3, 1_814)
    assert ours.dtype == np.float32
    for row in np.ndindex(2, 3):
        np.testing.assert_array_equal(ours[row], resample(x[row], 44_100, 16_000))


def test_there_and_back():
    """What lies below the lower Nyquist frequency survives."""
    t = np.arange(16_000) / 16_000
    x = np.sin(2 * np.pi * 1_000 * t) + 0.5 * np.sin(2 * np.pi * 5_000 * t)
    back = resample(resample(x, 16_000, 48_000), 48_000, 16_000)
    assert relative_error(back[1_000:-1_000], x[1_000:-1_000]) < 1e-5


@pytest.mark.parametrize(("rate", "target"), [(0, 16_000), (16_000, -1)])
def test_wrong_rates(rate, target):
    with pytest.raises(ValueError, match=f"cannot resample from {rate} Hz to {target} Hz"):
        resample(np.zeros(10), rate, target)
    with pytest.raises(ValueError, match="cannot resample"):
        Resampler(rate, target)
