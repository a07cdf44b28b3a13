import io

import numpy as np
import pytest
from PIL import Image

from ldm_jax.data.show.pictures import (
    BANDS,
    RANGE,
    STEPS,
    frequency_ticks,
    level_path,
    png,
    spectrogram,
    time_ticks,
)
from tests.data.show.material import RATE, tone


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000, 192_000])
def test_a_tone_lies_where_its_tick_is(rate):
    ticks = frequency_ticks(spectrogram(np.zeros(100), rate)[1])
    assert len(ticks) >= 4
    for height, label in ticks:
        number, unit = label.split()
        level, _ = spectrogram(tone(int(number) * {"Hz": 1, "kHz": 1000}[unit], 1.0, rate), rate)
        assert level.shape[1] == BANDS
        loudest = level[len(level) // 2].argmax()
        assert abs((loudest + 1) / (BANDS + 1) - height) < 1 / BANDS


def test_time_runs_rightwards_and_frequency_upwards():
    wave = np.concatenate([tone(250, 0.5), tone(4000, 0.5)])
    picture = np.asarray(
        Image.open(io.BytesIO(png(spectrogram(wave, RATE)[0]))).convert("L"), float
    )
    height, width = picture.shape
    brightest = picture.argmax(axis=0)
    assert (brightest[: width // 2 - 20] > 0.8 * height).all()
    assert (brightest[width // 2 + 20 :] < 0.35 * height).all()


def test_decibels_are_below_the_loudest():
    wave = np.concatenate([tone(1000, 0.5, level=0.5), tone(1000, 0.5, level=0.05)])
    level, _ = spectrogram(wave, RATE)
    assert level.max() == 0
    assert level.min() == -RANGE
    loud, quiet = (level[k * len(level) // 4].max() for k in (1, 3))
    assert abs(loud - quiet - 20) < 0.01


@pytest.mark.parametrize("samples", [1, 2, 500, 16_000, 480_000])
def test_any_length_has_a_picture(samples):
    level, _ = spectrogram(np.full(samples, 0.1, np.float32), RATE)
    image = Image.open(io.BytesIO(png(level)))
    assert image.size == (len(level), BANDS)
    assert 1 <= image.width <= 645


def test_level_is_the_envelope():
    wave = np.concatenate([np.linspace(0, 0.5, 3200), -np.linspace(0, 2.0, 3200)])
    corners = [point.split() for point in level_path(wave)[1:-1].split("L")]
    points = np.array(corners, float)
    assert len(points) == 2 * STEPS
    top, bottom = points[:STEPS], points[STEPS:][::-1]
    np.testing.assert_array_equal(top[:, 0], np.arange(STEPS))
    pieces = np.clip(wave, -1, 1).reshape(STEPS, -1)
    np.testing.assert_allclose(1 - top[:, 1], pieces.max(axis=1), atol=6e-4)
    np.testing.assert_allclose(1 - bottom[:, 1], pieces.min(axis=1), atol=6e-4)
    assert level_path(wave[:0]) == ""


@pytest.mark.parametrize(
    ("seconds", "labels"),
    [
        (10.24, ["0 s", "2", "4", "6", "8", "10"]),
        (0.3, ["0 s", "0.05", "0.1", "0.15", "0.2", "0.25", "0.3"]),
        (30.0, ["0 s", "5", "10", "15", "20", "25", "30"]),
        (1.0, ["0 s", "0.2", "0.4", "0.6", "0.8", "1"]),
        (0.0, []),
    ],
)
def test_times_are_round(seconds, labels):
    ticks = time_ticks(seconds)
    assert [label for _, label in ticks] == labels
    for at, label in ticks:
        assert at == pytest.approx(float(label.removesuffix(" s")) / seconds)
