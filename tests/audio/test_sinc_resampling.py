"""Resampling by a windowed sinc: the formula written out, and what must not matter. torchaudio: eval/waves."""

import math
import tracemalloc

import numpy as np
import pytest

from ldm_jax.audio.sinc_resampling import sinc_resample
from tests.golden import relative_error

KAISER = {"width": 64, "rolloff": 0.9475937167399596, "beta": 14.769656459379492}
RATES = [(44_100, 16_000), (48_000, 16_000), (16_000, 32_000), (16_000, 44_100), (11_127, 16_000)]


def directly(wave, rate, target, *, width=6, rolloff=0.99, beta=None):
    """Each output as a sum over all inputs."""
    cutoff = min(rate, target) * rolloff
    times = np.arange(math.ceil(len(wave) * target / rate)) / target
    t = (times[:, None] - np.arange(len(wave)) / rate) * cutoff
    inside = np.abs(t) < width
    t = np.clip(t, -width, width)
    if beta is None:
        window = np.cos(np.pi * t / (2 * width)) ** 2
    else:
        window = np.i0(beta * np.sqrt(1 - (t / width) ** 2)) / np.i0(beta)
    return (np.sinc(t) * window * inside * cutoff / rate) @ wave


@pytest.mark.parametrize(("rate", "target"), RATES)
@pytest.mark.parametrize("settings", [{}, KAISER], ids=["hann", "kaiser"])
def test_is_the_formula(rate, target, settings):
    """But for phases in float32, which torchaudio has: the coarser, the less the rates have in common."""
    wave = np.random.RandomState(0).standard_normal(1_003)
    ours = sinc_resample(wave, rate, target, **settings)
    assert relative_error(ours, directly(wave, rate, target, **settings)) < 5e-5
    narrow = sinc_resample(wave.astype(np.float32), rate, target, precision=np.float32, **settings)
    assert narrow.dtype == np.float32
    assert relative_error(narrow, directly(wave, rate, target, **settings)) < 5e-5


@pytest.mark.parametrize("samples", [1, 2, 146, 147, 148])
def test_lengths(samples):
    for rate, target in RATES:
        made = sinc_resample(np.ones(samples), rate, target)
        assert len(made) == -(-samples * target // rate)


def test_same_rate_is_the_wave():
    wave = np.ones(5)
    assert sinc_resample(wave, 8_000, 8_000) is wave
    with pytest.raises(ValueError, match="from 0 Hz to 16000 Hz"):
        sinc_resample(wave, 0, 16_000)


def test_memory_does_not_grow_with_the_ratio():
    """Rates without a common divisor have as many filters as the target has samples a second."""
    wave = np.zeros(111_270, np.float32)
    tracemalloc.start()
    sinc_resample(wave, 11_127, 32_000, precision=np.float32)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20
