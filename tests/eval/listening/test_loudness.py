import math

import numpy as np
import pytest
from scipy.signal import butter, freqz, sosfilt

from ldm_jax.audio.resampling import resample
from ldm_jax.eval.listening.loudness import integrated_loudness, k_weighting
from tests.eval.listening.material import tone


def test_coefficients_at_48_kHz_are_those_of_the_recommendation():
    shelf, high_pass = k_weighting(48_000)
    np.testing.assert_allclose(
        shelf[0], [1.53512485958697, -2.69169618940638, 1.19839281085285], atol=1e-12
    )
    np.testing.assert_allclose(shelf[1], [1, -1.69065929318241, 0.73248077421585], atol=1e-12)
    np.testing.assert_allclose(high_pass[0], [1, -2, 1], atol=1e-7)
    np.testing.assert_allclose(high_pass[1], [1, -1.99004745483398, 0.99007225036621], atol=1e-12)


@pytest.mark.parametrize("rate", [16_000, 22_050, 32_000, 44_100])
def test_filters_are_the_same_at_other_rates(rate):
    hertz = np.geomspace(20, 0.2 * rate, 50)

    def response(at):
        return np.prod(
            [freqz(*section, worN=hertz, fs=at)[1] for section in k_weighting(at)], axis=0
        )

    decibels = 20 * np.log10(np.abs(response(rate)) / np.abs(response(48_000)))
    assert np.abs(decibels).max() < 0.35  # the bilinear transform bends what is near half the rate
    assert np.abs(decibels[hertz < 1000]).max() < 0.06


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_a_sine_of_997_Hz_at_full_scale_is_3_01_below_0(rate):
    assert integrated_loudness(tone(997, 3, level=1, rate=rate), rate) == pytest.approx(
        -3.01, abs=0.06
    )


def test_cases_of_EBU_tech_3341():
    """1: -23; 2: -33; 3: quiet ends do not count; 4: nor silence; 5: 20.1 s between 20 s of 6 LU less."""

    def stereo(*parts):
        return np.concatenate(
            [
                tone(1000, seconds, level=10 ** (level / 20), rate=48_000, channels=2)
                for level, seconds in parts
            ]
        )

    for parts, expected in (
        ([(-23, 20)], -23),
        ([(-33, 20)], -33),
        ([(-36, 10), (-23, 60), (-36, 10)], -23),
        ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23),
        ([(-26, 20), (-20, 20.1), (-26, 20)], -23),
    ):
        assert integrated_loudness(stereo(*parts), 48_000) == pytest.approx(expected, abs=0.1)


def test_values_of_another_program():
    """pyloudnorm 0.2.0, Meter(rate, filter_class="DeMan"), of samples drawn one after the other."""
    generator = np.random.default_rng(0)
    for rate, channels, expected in ((48_000, 1, -22.30681), (44_100, 2, -19.31217)):
        wave = generator.standard_normal((5 * rate, channels)) * 0.1
        wave *= np.linspace(0, 1, len(wave))[:, None] ** 2
        assert integrated_loudness(wave, rate) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
def test_the_same_sound_is_as_loud_at_another_rate(rate):
    noise = np.random.default_rng(0).standard_normal((3 * rate, 1)) * 0.1
    wave = sosfilt(butter(10, 0.8, output="sos"), noise, axis=0)  # to where the resampler is flat
    at_48 = resample(np.ascontiguousarray(wave.T), rate, 48_000).T
    assert integrated_loudness(wave, rate) == pytest.approx(
        integrated_loudness(at_48, 48_000), abs=0.1
    )


def test_silence_offset_and_short_clips():
    wave = tone(997, 2, level=0.1)
    plain = integrated_loudness(wave, 16_000)
    assert integrated_loudness(wave + 0.5, 16_000) == pytest.approx(plain, abs=1e-3)
    assert integrated_loudness(wave[:1600], 16_000) == pytest.approx(plain, abs=0.1)
    assert integrated_loudness(np.zeros((16_000, 2)), 16_000) == -math.inf
    assert integrated_loudness(np.full((16_000, 1), 0.25), 16_000) == -math.inf
    assert integrated_loudness(wave * 1e-4, 16_000) == -math.inf  # below -70 LUFS nothing is heard
    both = integrated_loudness(np.repeat(wave, 2, axis=1), 16_000)
    assert both == pytest.approx(plain + 10 * math.log10(2), abs=1e-9)
