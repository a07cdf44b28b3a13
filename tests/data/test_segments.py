"""From a row to an example: where it is cut, how it is shaped."""

import dataclasses

import numpy as np
import pytest

from ldm_jax.data.order import place_generator
from ldm_jax.data.segments import Shaping, caption_of, segment
from tests.data.rows import counted, row_of

RAW = Shaping(seconds=0.5, peak=None)  # 8000 samples, as they are
SHAPED = Shaping(seconds=0.5)


def first_samples(shaping, row, draws):
    """Where each draw begins, read off the samples of `counted`."""
    waves = [segment(row, shaping, place_generator(0, i)).wave for i in range(draws)]
    for wave in waves:
        assert np.allclose(np.diff(wave) * 32768, 1, atol=0.01)
    return np.array([round(float(wave[0]) * 32768) for wave in waves])


def test_stretches_are_uniform_over_the_whole_clip():
    starts = first_samples(RAW, row_of(counted(20_001)), 600)
    assert starts.min() >= 0
    assert starts.max() <= 12_001
    counts, _ = np.histogram(starts, bins=6, range=(0, 12_002))
    chi_squared = ((counts - 100) ** 2 / 100).sum()
    assert chi_squared < 20.5  # 5 degrees of freedom, odds of one in a thousand
    one = segment(row_of(counted(20_001)), RAW, place_generator(0, 3))
    assert round(one.start * 16_000) == starts[3]
    assert one.samples == 8000


def test_validation_begins_at_the_beginning():
    shaping = dataclasses.replace(RAW, random_start=False)
    assert set(first_samples(shaping, row_of(counted(20_001)), 5)) == {0}


def test_a_clip_one_sample_longer_has_two_stretches():
    assert set(first_samples(RAW, row_of(counted(8001)), 40)) == {0, 1}


def test_silence_is_drawn_past():
    """Sound fills an eighth of the clip, so one draw misses it seven times in eight."""
    wave = np.zeros(8 * 8000 + 8000)
    wave[-8000:] = 0.3
    shaping = dataclasses.replace(RAW, seconds=0.05)
    loud = [segment(row_of(wave), shaping, place_generator(0, i)).wave.max() for i in range(200)]
    hits = np.mean(np.array(loud) > 0.1)
    single = 8800 / (72_000 - 800)
    assert hits == pytest.approx(1 - (1 - single) ** 10, abs=0.1)
    once = dataclasses.replace(shaping, tries=1)
    loud = [segment(row_of(wave), once, place_generator(0, i)).wave.max() for i in range(200)]
    assert np.mean(np.array(loud) > 0.1) == pytest.approx(single, abs=0.08)


def test_peak_and_mean_are_as_published():
    rng = np.random.default_rng(0)
    wave = 0.1 * rng.standard_normal(6000) + 0.2
    one = segment(row_of(wave), SHAPED, place_generator(0, 0))
    sound = one.wave[:6000].astype(np.float64)
    decoded = np.rint(wave * 32767) / 32768
    centred = decoded - decoded.mean()
    np.testing.assert_allclose(sound, centred / (np.abs(centred).max() + 1e-8) * 0.5, atol=1e-6)
    assert (one.wave[6000:] == 0).all()  # zeros behind, not the mean
    assert one.wave.shape == (8000,)
    assert one.wave.dtype == np.float32
    assert one.samples == 6000


def test_silent_clips_stay_finite():
    one = segment(row_of(np.zeros(3000)), SHAPED, place_generator(0, 0))
    assert (one.wave == 0).all()


def test_padding():
    wave = counted(3000, offset=1)
    repeat = dataclasses.replace(RAW, padding="repeat")
    looped = segment(row_of(wave), repeat, place_generator(0, 0)).wave * 32768
    np.testing.assert_allclose(looped, 1 + np.arange(8000) % 3000, atol=0.01)
    spoken = row_of(wave, transcript="hello")
    assert (segment(spoken, repeat, place_generator(0, 0)).wave[3000:] == 0).all()
    anywhere = dataclasses.replace(RAW, padding="random")
    befores = [
        int(np.flatnonzero(segment(row_of(wave), anywhere, place_generator(0, i)).wave)[0])
        for i in range(100)
    ]
    assert min(befores) < 500
    assert max(befores) > 4500
    assert max(befores) <= 5000


def test_another_rate_is_resampled():
    time = np.arange(22_050) / 44_100
    row = row_of(0.5 * np.sin(2 * np.pi * 1000 * time), sample_rate=44_100)
    one = segment(row, SHAPED, place_generator(0, 0))
    spectrum = np.abs(np.fft.rfft(one.wave * np.hanning(8000)))
    assert spectrum.argmax() == 500  # 1 kHz in bins of 2 Hz
    assert spectrum[1000:].max() < 1e-4 * spectrum[500]
    assert one.samples == 8000


def test_roll_and_gain():
    wave = counted(8000, offset=1)
    rolled = segment(row_of(wave), dataclasses.replace(RAW, roll=True), place_generator(0, 0)).wave
    shift = int(np.argmin(rolled))
    np.testing.assert_allclose(np.roll(rolled, -shift) * 32768, 1 + np.arange(8000), atol=0.01)
    assert shift > 0
    gains = [
        segment(row_of(wave), dataclasses.replace(RAW, gain=True), place_generator(0, i)).wave[7999]
        / (8000 / 32768)
        for i in range(400)
    ]
    assert np.mean(gains) == pytest.approx(1, abs=0.03)
    assert np.std(gains) == pytest.approx(1 / np.sqrt(84), abs=0.012)  # of Beta(10, 10): 0.109


def test_captions_are_drawn_evenly_and_labels_stand_in():
    row = row_of(counted(100), captions=("one", "two", "three"))
    drawn = [segment(row, RAW, place_generator(0, i)).caption for i in range(600)]
    counts = np.array([drawn.count(caption) for caption in row.captions])
    assert ((counts - 200) ** 2 / 200).sum() < 13.8  # chi squared, odds of one in a thousand
    assert caption_of(row) == "one"
    labelled = row_of(counted(100), labels=("/m/0bt9lr", "/m/06mb1"))
    assert caption_of(labelled, names={"/m/0bt9lr": "Dog"}) == "Dog, /m/06mb1."
    assert caption_of(row_of(counted(100))) == ""


def test_transcripts_belong_to_whole_clips():
    assert segment(row_of(counted(8000), transcript="hi"), RAW, place_generator(0, 0)).transcript
    cut = segment(row_of(counted(8001), transcript="hi"), RAW, place_generator(0, 0))
    assert cut.transcript == ""


def tones(*frequencies):
    time = np.arange(8000) / 16_000
    return [0.4 * np.sin(2 * np.pi * frequency * time) for frequency in frequencies]


def test_mixing_joins_sound_and_captions():
    one, other = tones(1000, 3000)
    dog = row_of(one, captions=("A dog.",), labels=("dog",))
    rain = row_of(other[:4000], captions=("Rain",), labels=("rain", "dog"))
    both = segment(dog, SHAPED, place_generator(0, 0), second=rain)
    assert both.caption == "A dog and rain"
    assert both.labels == ("dog", "rain")
    assert both.samples == 8000
    assert np.abs(both.wave).max() == pytest.approx(0.5, abs=1e-6)
    early = np.abs(np.fft.rfft(both.wave[:4000]))
    late = np.abs(np.fft.rfft(both.wave[4000:]))
    assert min(early[250], early[750]) > 100  # 1 and 3 kHz in bins of 4 Hz
    assert late[250] > 100 > 5 > late[750]


def test_speech_and_nameless_clips_are_not_mixed():
    one, other = tones(1000, 3000)
    plain = row_of(one, captions=("A dog",))
    alone = segment(plain, SHAPED, place_generator(0, 0))
    for second in (
        row_of(other, captions=("A voice",), transcript="hello"),
        row_of(other),
    ):
        unmixed = segment(plain, SHAPED, place_generator(0, 0), second=second)
        assert unmixed.caption == "A dog"
        assert (unmixed.wave == alone.wave).all()
    spoken = row_of(one, captions=("A voice",), transcript="hello")
    assert segment(spoken, SHAPED, place_generator(0, 0), second=plain).caption == "A voice"
