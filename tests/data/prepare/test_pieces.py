import io
import tracemalloc

import numpy as np
import pytest
import soundfile

from ldm_jax.audio.resampling import resample
from ldm_jax.data.prepare import Settings
from ldm_jax.data.prepare.journal import LeftOut
from ldm_jax.data.prepare.pieces import make_rows
from tests.data.prepare.material import clip, noise, tone, write


def rows_and_rest(path, *, fields=None, **settings):
    made = list(make_rows(clip(path, "c", **(fields or {})), Settings(**settings)))
    rows = [one for one in made if not isinstance(one, LeftOut)]
    return rows, [one for one in made if isinstance(one, LeftOut)]


def decoded(row):
    wave, rate = soundfile.read(io.BytesIO(row.audio), dtype="int16")
    assert (len(wave), rate) == (row.samples, row.sample_rate)
    return wave


def test_sixteen_bit_samples_at_the_rate_stay_as_they_are(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, 20_001).astype(np.int16)
    (made,), rest = rows_and_rest(write(tmp_path / "a.wav", samples))
    np.testing.assert_array_equal(decoded(made.row), samples)
    assert (made.row.name, made.row.start, made.rate, made.channels, made.cut_off) == (
        "c", 0.0, 16_000, 1, 0)  # fmt: skip
    assert rest == []


def test_level_and_peak_of_a_sine(tmp_path):
    path = write(tmp_path / "a.wav", tone(1.0, 16_000, hz=1000, level=0.25), subtype="PCM_16")
    (made,), _ = rows_and_rest(path)
    assert made.row.loudness == pytest.approx(20 * np.log10(0.25) - 10 * np.log10(2), abs=1e-3)
    assert made.row.peak == pytest.approx(0.25, abs=2**-15)


def test_a_long_clip_is_cut_without_losing_a_sample(tmp_path):
    samples = noise(0, 2.6)
    made, rest = rows_and_rest(write(tmp_path / "a.flac", samples), max_seconds=0.75)
    assert [one.row.name for one in made] == ["c#0", "c#1", "c#2", "c#3"]
    assert [one.row.start for one in made] == [0.0, 0.75, 1.5, 2.25]
    np.testing.assert_array_equal(np.concatenate([decoded(one.row) for one in made]), samples)
    assert rest == []


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100])
def test_pieces_of_a_resampled_clip_are_those_of_the_whole(tmp_path, rate):
    samples = noise(1, 2.0, rate)
    made, _ = rows_and_rest(write(tmp_path / "a.wav", samples, rate), max_seconds=0.7)
    whole = resample((samples / 32768).astype(np.float32), rate, 16_000)
    assert [one.row.samples for one in made] == [11_200, 11_200, 9_600]
    got = np.concatenate([decoded(one.row) for one in made])
    np.testing.assert_array_equal(got, np.rint(whole * 32768).astype(np.int16))


@pytest.mark.parametrize(
    ("seconds", "lengths", "cut_off"),
    [
        (1.0, [16_000], 0),
        (1.05, [16_000], 800),  # what remains is too short to keep
        (1.1, [16_000, 1600], 0),
        (2.0, [16_000, 16_000], 0),
        (2.09, [16_000, 16_000], 1440),
    ],
)
def test_short_remainders_are_cut_off_and_counted(tmp_path, seconds, lengths, cut_off):
    made, rest = rows_and_rest(write(tmp_path / "a.wav", noise(0, seconds)), max_seconds=1.0)
    assert [one.row.samples for one in made] == lengths
    assert [one.cut_off for one in made] == [0] * (len(lengths) - 1) + [cut_off]
    assert rest == []
    assert (made[0].row.name == "c") == (len(lengths) == 1)


def test_a_stretch_of_a_file(tmp_path):
    samples = noise(0, 3.0)
    path = write(tmp_path / "a.wav", samples)
    made, _ = rows_and_rest(path, fields={"start": 0.5, "seconds": 1.25}, max_seconds=1.0)
    assert [one.row.start for one in made] == [0.5, 1.5]
    got = np.concatenate([decoded(one.row) for one in made])
    np.testing.assert_array_equal(got, samples[8000:28_000])


def test_transcripts_are_not_cut(tmp_path):
    path = write(tmp_path / "a.wav", noise(0, 2.0))
    rows, rest = rows_and_rest(path, fields={"transcript": "Hello."}, max_seconds=1.0)
    assert rows == []
    assert [(one.name, one.why) for one in rest] == [("c", "long")]
    rows, rest = rows_and_rest(path, fields={"transcript": "Hello."}, max_seconds=2.0)
    assert [one.row.transcript for one in rows] == ["Hello."]
    assert rest == []


def test_channels(tmp_path):
    left, right = noise(0, 0.5), noise(1, 0.5)
    path = write(tmp_path / "a.wav", np.stack([left, right], axis=1))
    (first,), _ = rows_and_rest(path, channels="first")
    np.testing.assert_array_equal(decoded(first.row), left)
    (mean,), _ = rows_and_rest(path)
    middle = np.rint((left.astype(float) + right) / 2)
    assert np.abs(decoded(mean.row) - middle).max() <= 1  # halves may go either way
    assert (first.channels, mean.channels) == (2, 2)


def test_silence_within_a_clip_is_left_out(tmp_path):
    samples = np.concatenate([noise(0, 1.0), np.zeros(16_000, np.int16), noise(1, 0.5)])
    made, rest = rows_and_rest(write(tmp_path / "a.wav", samples), max_seconds=1.0)
    assert [one.row.name for one in made] == ["c#0", "c#2"]
    assert [(one.name, one.why) for one in rest] == [("c#1", "silent")]


@pytest.mark.parametrize("rate", [16_000, 44_100])  # a constant rings at its ends when resampled
def test_a_constant_is_silent(tmp_path, rate):
    path = write(tmp_path / "a.wav", np.full(rate, 0.4), rate, subtype="PCM_24")
    rows, rest = rows_and_rest(path)
    assert rows == []
    assert [(one.why, one.reason) for one in rest] == [("silent", "constant in 1 s")]


@pytest.mark.parametrize(("level", "why"), [(0.9e-4, ["silent"]), (1.2e-4, [])])
def test_where_silence_begins(tmp_path, level, why):
    path = write(tmp_path / "a.wav", tone(0.5, 16_000, hz=1000, level=level), subtype="FLOAT")
    assert [one.why for one in rows_and_rest(path)[1]] == why


@pytest.mark.parametrize(("level", "why"), [(1.5, []), (20_000.0, ["scale"])])
def test_beyond_full_scale(tmp_path, level, why):
    path = write(tmp_path / "a.wav", tone(0.5, 16_000, hz=1000, level=level), subtype="FLOAT")
    rows, rest = rows_and_rest(path)
    assert [one.why for one in rest] == why
    for one in rows:  # clipped, not wrapped around
        expected = np.clip(np.rint(tone(0.5, 16_000, hz=1000, level=level) * 32768), -32768, 32767)
        assert np.abs(decoded(one.row) - expected).max() <= 1


def test_damage_late_in_a_file_keeps_what_came_before(tmp_path):
    samples = noise(0, 8.0)
    path = write(tmp_path / "a.flac", samples)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.7)])
    made, rest = rows_and_rest(path, max_seconds=1.0)
    assert len(made) in (4, 5)  # of 5.6 s; the last whole second may lie in the damaged block
    for number, one in enumerate(made):
        expected = samples[number * 16_000 : (number + 1) * 16_000]
        np.testing.assert_array_equal(decoded(one.row), expected)
    assert [(one.name, one.why) for one in rest] == [("c", "unreadable")]
    assert rest[0].reason.endswith(f"; the {len(made)} pieces before it are kept")


@pytest.mark.slow
def test_an_hour_does_not_lie_in_memory(tmp_path):
    rate, minute = 8_000, noise(0, 60.0, 8_000)
    with soundfile.SoundFile(tmp_path / "a.flac", "w", rate, 2, format="FLAC") as file:
        for number in range(60):
            file.write(np.stack([minute, minute // (number + 2)], axis=1))
    seconds, names = 0.0, []
    tracemalloc.start()
    for made in make_rows(clip(tmp_path / "a.flac", "c"), Settings()):
        seconds += made.row.seconds
        names.append(made.row.name)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert names == [f"c#{number}" for number in range(120)]
    assert seconds == 3600.0
    assert most < 30e6  # an hour decoded is 230 MB
