"""Files that are not as they should be: handled by rule and said so, or refused."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

from ldm_jax.audio.reading import AudioError
from ldm_jax.eval.clips import Clip
from ldm_jax.eval.waves import LOADINGS, load


@pytest.fixture
def write(tmp_path):
    def clip(wave, rate, subtype="PCM_16"):
        soundfile.write(tmp_path / "a.wav", np.asarray(wave), rate, subtype=subtype)
        return Clip(name="a", path=tmp_path / "a.wav")

    return clip


def noise(samples, channels=1, *, peak=0.5):
    return np.random.RandomState(samples).uniform(-peak, peak, (samples, channels))


@pytest.mark.parametrize(
    ("loading", "wave", "rate", "remark"),
    [
        ("plain_16k", noise(32_000, 2), 16_000, "2 channels: their mean was taken"),
        ("audioldm_eval_16k", noise(32_000, 6), 16_000, "6 channels: the first was taken"),
        ("plain_16k", noise(32_000), 8_000, "8000 Hz: nothing above 4 kHz can be in it"),
        ("plain_16k", np.zeros(32_000), 16_000, "silent"),
        ("audioldm_eval_16k", np.full(32_000, 0.3), 16_000, "nothing audible in what is left of it"),
        ("audioldm_eval_16k", noise(31_999), 16_000, "padded with silence to 2 s"),
        ("consistencytta_16k", noise(160_001), 16_000, "cut to its first 10 s"),
        ("av_benchmark_16k", noise(128_001), 16_000, "cut to its first 8 s"),
    ],
)  # fmt: skip
def test_remarks(write, loading, wave, rate, remark):
    assert load(write(wave, rate), LOADINGS[loading]).remarks == (remark,)


@pytest.mark.parametrize("loading", LOADINGS)
def test_nothing_is_said_of_a_file_as_it_should_be(write, loading):
    rate = LOADINGS[loading].rate
    samples = {"av_benchmark_passt": 8, "av_benchmark_16k": 8, "av_benchmark_clap": 8}.get(
        loading, 10
    )
    loaded = load(write(noise(samples * rate), rate), LOADINGS[loading])
    expected = ("padded with silence to 10 s",) if loading == "av_benchmark_passt" else ()
    assert loaded.remarks == expected
    assert loaded.seconds == samples


def test_louder_than_full_scale(write):
    wave = np.array([0.5, 1.5, -1.5, -0.25] * 8000)
    loaded = load(write(wave, 16_000, "FLOAT"), LOADINGS["fadtk_vggish"])
    assert loaded.remarks == ("louder than full scale: clipped to 16 bits",)
    np.testing.assert_array_equal(loaded.wave[:4], [0.5, 32_767 / 32_768, -1, -0.25])


def test_sound_in_the_other_channel_alone(write):
    wave = np.stack([np.zeros(32_000), noise(32_000)[:, 0]], axis=1)
    remarks = load(write(wave, 16_000), LOADINGS["audioldm_eval_16k"]).remarks
    assert remarks == (
        "2 channels: the first was taken",
        "nothing audible in what is left of it",
    )


@pytest.mark.parametrize("loading", LOADINGS)
@pytest.mark.parametrize("rate", [8_000, 11_127, 96_000])
def test_silence_stays_silent_and_finite(write, loading, rate):
    loaded = load(write(np.zeros(rate), rate), LOADINGS[loading])
    assert not loaded.wave.any()
    assert "silent" in loaded.remarks


@pytest.mark.parametrize("loading", LOADINGS)
def test_a_sample_or_an_error(write, loading):
    """One sample at 96 kHz may become one or none; none is an error, not a clip of silence."""
    try:
        wave = load(write([0.5], 96_000), LOADINGS[loading]).wave
    except AudioError as error:
        assert "1 samples at 96000 Hz are less than one at" in str(error)  # noqa: PT017
        assert loading.startswith(("plain", "consistencytta_clap"))
    else:
        assert len(wave)
        assert np.isfinite(wave).all()


def test_refused(write, tmp_path):
    plain = LOADINGS["plain_16k"]
    with pytest.raises(AudioError, match=r"not finite at 0\.001 s"):
        load(write(np.r_[np.zeros(16), np.nan, np.zeros(99)], 16_000, "FLOAT"), plain)
    with pytest.raises(AudioError, match="no samples"):
        load(write(np.zeros(0), 16_000), plain)
    for content, match in ((b"", "empty"), (b"<html>", "a web page")):
        (tmp_path / "b.wav").write_bytes(content)
        with pytest.raises(AudioError, match=match):
            load(Clip(name="b", path=tmp_path / "b.wav"), plain)
    with pytest.raises(FileNotFoundError):
        load(Clip(name="c", path=tmp_path / "c.wav"), plain)


def test_threads_may_resample_at_once():
    """In a process of its own: librosa leaves a resampy there that loads itself once, on its first use."""
    program = """
import threading
import librosa.core.audio, numpy as np
from ldm_jax.eval.waves.steps import Resampy
at_once, lengths = threading.Barrier(4), []
def run():
    at_once.wait()
    lengths.append(len(Resampy(rate=48_000)(np.zeros(1600), 16_000)[0]))
threads = [threading.Thread(target=run) for _ in range(4)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
assert lengths == [4800] * 4, lengths
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)
