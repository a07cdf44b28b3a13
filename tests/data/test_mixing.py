"""Mixing two clips at equal loudness."""

import numpy as np
import pytest

from ldm_jax.data.mixing import a_weighted_level, join_captions, mix

RATE = 16_000


def tone(frequency, amplitude, samples=RATE, start=0):
    wave = amplitude * np.sin(2 * np.pi * frequency * np.arange(samples) / RATE)
    wave[:start] = 0
    return wave.astype(np.float32)


@pytest.mark.parametrize(
    # IEC 61672-1, table 3: what A-weighting takes from a tone.
    ("frequency", "decibels"),
    [(125, -16.1), (250, -8.6), (500, -3.2), (1000, 0.0), (2000, 1.2), (4000, 1.0)],
)
def test_level_follows_the_standard(frequency, decibels):
    level = a_weighted_level(tone(frequency, 0.5), sample_rate=RATE)
    reference = a_weighted_level(tone(1000, 0.5), sample_rate=RATE)
    assert level - reference == pytest.approx(decibels, abs=0.15)


def test_level_is_that_of_the_loudest_window():
    whole = a_weighted_level(tone(1000, 0.5), sample_rate=RATE)
    part = a_weighted_level(tone(1000, 0.5, start=RATE // 2), sample_rate=RATE)
    assert part == pytest.approx(whole, abs=0.05)
    assert a_weighted_level(tone(1000, 0.05), sample_rate=RATE) == pytest.approx(
        whole - 20, abs=1e-3
    )


def test_level_of_silence_and_of_clips_shorter_than_a_window():
    assert a_weighted_level(np.zeros(RATE, np.float32), sample_rate=RATE) == -80
    assert a_weighted_level(np.zeros(3, np.float32), sample_rate=RATE) == -80
    assert np.isfinite(a_weighted_level(tone(1000, 0.5, samples=100), sample_rate=RATE))


def test_both_are_equally_loud_in_the_mix():
    loud, faint = tone(1000, 0.5), tone(3000, 0.01)
    mixed = mix(loud, faint, sample_rate=RATE)
    assert mixed.dtype == np.float32
    spectrum = np.abs(np.fft.rfft(mixed))
    one, other = spectrum[1000], spectrum[3000]  # bins of 1 Hz
    difference = 20 * np.log10(other / one)  # what is left is A-weighting at 3 kHz: 1.2 dB
    assert difference == pytest.approx(-1.2, abs=0.1)


def test_mix_of_equals_keeps_its_power():
    rng = np.random.default_rng(0)
    one, other = (rng.standard_normal(RATE).astype(np.float32) for _ in range(2))
    mixed = mix(one, other, sample_rate=RATE)
    assert mixed.std() == pytest.approx(1, abs=0.03)


def test_ratio_is_the_first_ones_share():
    one, other = tone(1000, 0.5), tone(2000, 0.5)
    level = a_weighted_level(one, sample_rate=RATE) - a_weighted_level(other, sample_rate=RATE)
    mixed = mix(one, other, sample_rate=RATE, ratio=0.8)
    spectrum = np.abs(np.fft.rfft(mixed))
    # p / (1 - p) = r / (1 - r) 10^((G2 - G1) / 20), and both tones have amplitude 0.5.
    assert spectrum[1000] / spectrum[2000] == pytest.approx(4 * 10 ** (-level / 20), rel=1e-3)


@pytest.mark.parametrize(
    ("one", "other", "joined"),
    [
        ("A dog barks.", "Rain falls.", "A dog barks and rain falls."),
        ("Wind", "TV noise", "Wind and TV noise"),
        ("Wind", "A TV plays", "Wind and a TV plays"),
    ],
)
def test_captions(one, other, joined):
    assert join_captions(one, other) == joined
