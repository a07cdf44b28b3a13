"""Reading: files of every kind, made by libsndfile or by hand, whole, in parts, and broken in many ways."""

import io
import os
import struct
import tracemalloc

import numpy as np
import pytest
import soundfile

from ldm_jax.audio import mp3
from ldm_jax.audio.containers import Stream
from ldm_jax.audio.reading import AudioError, audio_blocks, read_audio, to_mono
from tests.golden import random_array

RATE = 16_000
KINDS = {  # container, coding, and how far off a sample may be
    "wav-8": ("WAV", "PCM_U8", 2**-7),
    "wav-16": ("WAV", "PCM_16", 2**-15),
    "wav-24": ("WAV", "PCM_24", 2**-23),
    "wav-32": ("WAV", "PCM_32", 2**-23),
    "wav-float": ("WAV", "FLOAT", 0.0),
    "wav-double": ("WAV", "DOUBLE", 0.0),
    "wav-extensible": ("WAVEX", "PCM_24", 2**-23),
    "wav-64": ("RF64", "PCM_16", 2**-15),
    "aiff": ("AIFF", "PCM_16", 2**-15),
    "flac-16": ("FLAC", "PCM_16", 2**-15),
    "flac-24": ("FLAC", "PCM_24", 2**-23),
    "mp3": ("MP3", "MPEG_LAYER_III", 0.02),
    "vorbis": ("OGG", "VORBIS", 0.05),
    "opus": ("OGG", "OPUS", 0.05),
}


def tones(samples=2 * RATE, channels=2):
    """Another tone in each channel, rising, with a little noise."""
    t = np.arange(samples)[:, None] / RATE
    pitch = 300 * (1 + np.arange(channels))
    x = 0.4 * np.sin(2 * np.pi * (pitch * t + 50 * t**2))
    return (x + 0.003 * random_array("noise", x.shape)).astype(np.float32)


def encoded(kind, wave=None, rate=RATE, **options):
    buffer = io.BytesIO()
    container, coding, _ = KINDS[kind]
    wave = tones() if wave is None else wave
    soundfile.write(buffer, wave, rate, format=container, subtype=coding, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind, tmp_path):
    """As a path with a wrong suffix, as bytes and as a stream; the samples are those that were written."""
    data = encoded(kind)
    path = tmp_path / "clip.raw"
    path.write_bytes(data)
    wave, rate = read_audio(path)
    assert rate == RATE
    assert wave.dtype == np.float32
    assert wave.shape == tones().shape
    end = -400 if kind == "opus" else None  # libsndfile's encoder loses the last 20 ms
    assert np.abs(wave - tones())[:end].max() <= KINDS[kind][2]
    for file in (data, io.BytesIO(data)):
        np.testing.assert_array_equal(read_audio(file)[0], wave)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_rates_and_channels(rate, channels):
    x = tones(1_000, channels)
    for kind in ("wav-16", "flac-16"):
        wave, found = read_audio(encoded(kind, x, rate))
        assert found == rate
        assert np.abs(wave - x).max() <= 2**-15


@pytest.mark.parametrize("kind", KINDS)
def test_a_stretch_is_a_slice_of_the_whole(kind):
    data = encoded(kind)
    whole, _ = read_audio(data)
    for start, seconds in ((0.0, 0.5), (0.3, 0.7), (1.25, None), (1.5, 9.0)):
        first = round(start * RATE)
        last = None if seconds is None else first + round(seconds * RATE)
        part, _ = read_audio(data, start=start, seconds=seconds)
        assert part.shape == whole[first:last].shape
        # Opus decodes 80 ms ahead of where it goes and does not quite forget where it began.
        bound = 1e-3 if kind == "opus" else 1e-6
        assert np.abs(part - whole[first:last]).max() <= bound


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_make_the_whole(kind):
    data = encoded(kind)
    blocks = list(audio_blocks(data, start=0.25, block_seconds=0.5))
    assert [len(block) for block, _ in blocks] == [8_000, 8_000, 8_000, 4_000]
    whole, _ = read_audio(data, start=0.25)
    np.testing.assert_array_equal(np.concatenate([block for block, _ in blocks]), whole)


@pytest.mark.parametrize("minutes", [2, pytest.param(60, marks=pytest.mark.slow, id="an-hour")])
def test_long_files_are_never_whole_in_memory(minutes, tmp_path):
    path, rate = tmp_path / "long.flac", 44_100
    with soundfile.SoundFile(path, "w", rate, 2, "PCM_16") as file:
        minute = np.resize(tones(rate), (60 * rate, 2))
        for _ in range(minutes):
            file.write(minute)
    tracemalloc.start()
    samples = sum(len(block) for block, _ in audio_blocks(path, block_seconds=5.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert samples == minutes * 60 * rate
    assert peak < 3 * 5 * rate * 2 * 4


def test_to_mono():
    wave = tones(100, 3)
    np.testing.assert_allclose(to_mono(wave), wave.mean(axis=1), atol=1e-7)
    np.testing.assert_array_equal(to_mono(wave, "first"), wave[:, 0])
    np.testing.assert_array_equal(to_mono(wave[:, :1]), wave[:, 0])
    same = np.repeat(wave[:, :1], 2, axis=1)
    np.testing.assert_array_equal(to_mono(same), wave[:, 0])
    with pytest.raises(ValueError, match="to mono by 'left'; it can be 'mean' or 'first'"):
        to_mono(wave, "left")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "^the file is empty$"),
        (b"\x07", "not audio that can be read: it begins with b'\\\\x07'"),
        (bytes(5_000), "it is zeros"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "it is a web page or XML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
        (b"PK\x03\x04" + bytes(100), "it is a zip archive"),
        (b"\0\0\0\x20ftypM4A " + bytes(100), "it is MP4"),
        (b"\xff\xf1\x50\x80" * 200, "it is raw AAC"),
        (b"\x1aE\xdf\xa3" + bytes(100), "it is Matroska or WebM"),
        (encoded("wav-16")[:30], "a WAV file that is damaged or cut off at its beginning"),
        (encoded("vorbis")[:100], "an Ogg file that is damaged or cut off at its beginning"),
        (encoded("mp3")[:100], "an MP3 file that is damaged or cut off at its beginning"),
        (encoded("flac-16")[:60], "a FLAC file that is damaged or cut off at its beginning"),
        (encoded("flac-16")[:9_000], "damaged or cut off at 0.00 s"),
        (encoded("wav-16", np.zeros((0, 1), np.float32)), "no samples from 0 s on"),
        (encoded("wav-16", rate=7), "the header says 7 samples a second"),
    ],
    ids=lambda value: value if isinstance(value, str) else "file",  # not its bytes
)
def test_what_is_not_audio(data, words, tmp_path, capfd):
    path = tmp_path / "clip.wav"
    path.write_bytes(data)
    for file in (path, data):
        with pytest.raises(AudioError, match=words) as caught:
            read_audio(file)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.wav"):
        read_audio(tmp_path / "gone.wav")
    with pytest.raises(IsADirectoryError):
        read_audio(tmp_path)


def test_a_stream_that_fails():
    """libsndfile cannot pass exceptions through; they come out all the same."""

    class Broken(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 20_000:
                raise OSError("the disk is gone")
            return super().read(size)

    with pytest.raises(OSError, match="the disk is gone"):
        read_audio(Broken(encoded("flac-16")))


@pytest.mark.parametrize("position", [0, 17_000, 31_999])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(position, value):
    x = tones()
    x[position, 1] = value
    data = encoded("wav-float", x)
    with pytest.raises(AudioError, match=f"not finite at {position / RATE:.3f} s"):
        read_audio(data)
    if position == 17_000:
        np.testing.assert_array_equal(read_audio(data, seconds=1.0)[0], x[:RATE])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_cut_off(kind, share, capfd):
    """What is there is given where it is asked for; asking for the rest says where the file ends."""
    x = tones(4 * RATE)
    data = encoded(kind, x)
    whole, _ = read_audio(data)
    data = data[: int(share * len(data))]
    if kind not in ("opus", "vorbis"):  # whose pages hold a second
        part, _ = read_audio(data, start=0.1, seconds=0.4)
        assert np.abs(part - whole[1_600:8_000]).max() < 1e-6
    with pytest.raises(AudioError, match=r"cut off at \d\.\d\d s") as caught:
        read_audio(data)
    at = float(str(caught.value).split(" s")[0].rsplit(" ", 1)[1])
    assert share * 4 - 1.3 < at < share * 4 + 0.3
    with pytest.raises(AudioError):
        read_audio(data, start=3.7)
    assert capfd.readouterr().err == ""


def test_a_few_missing_samples_are_no_matter():
    """Some programs count the header, a chunk behind the samples or half a frame as samples."""
    data = encoded("wav-16")
    assert len(read_audio(data[:-400])[0]) == 2 * RATE - 100
    with pytest.raises(AudioError, match=r"cut off at 1\.88 s, where its header announces 0\.12 s"):
        read_audio(data[: -64 * 120])


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF])
def test_wav_written_to_a_pipe(size):
    """Its length is not known; what is there is the clip."""
    data = bytearray(encoded("wav-16"))
    place = data.index(b"data") + 4
    data[place : place + 4] = struct.pack("<I", size)
    data[4:8] = struct.pack("<I", size)
    np.testing.assert_array_equal(read_audio(bytes(data))[0], read_audio(encoded("wav-16"))[0])


def test_flac_written_to_a_pipe():
    """STREAMINFO has 36 bits for the number of samples, 0 if that is not known."""
    whole, _ = read_audio(encoded("flac-16"))
    data = bytearray(encoded("flac-16"))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    np.testing.assert_array_equal(read_audio(bytes(data))[0], whole)
    np.testing.assert_array_equal(read_audio(bytes(data), start=1.0)[0], whole[RATE:])
    blocks = [block for block, _ in audio_blocks(bytes(data), block_seconds=0.3)]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    with pytest.raises(AudioError, match="no samples from 5 s on"):
        read_audio(bytes(data), start=5.0)


def without_xing(data):
    """(the frames behind the first, which is the Xing header; how many)."""
    frames = []
    place = 0
    while (found := mp3.frame(data, place)) is not None:
        frames.append(data[place : place + found.size])
        place += found.size
    assert b"Xing" in frames[0] or b"Info" in frames[0]
    return b"".join(frames[1:]), len(frames) - 1


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_mp3_of_variable_bit_rate_without_a_header(rate, channels, capfd):
    """libsndfile alone takes the length from the first frame's bit rate and drops what lies beyond."""
    quiet, loud = 0.001 * tones(5 * RATE, channels), tones(2 * RATE, channels)
    x = np.concatenate([loud, quiet])
    options = {"bitrate_mode": "VARIABLE", "compression_level": 0.5}
    data, count = without_xing(encoded("mp3", x, rate, **options))
    frame = 1152 if rate > 24_000 else 576
    alone = soundfile.read(io.BytesIO(data), always_2d=True)[0]
    assert len(alone) < 0.9 * count * frame
    wave, _ = read_audio(data)
    # All frames, without the 529 samples by which the decoder itself is late.
    assert len(wave) == count * frame - 529
    np.testing.assert_allclose(wave[: len(alone) - 2_000], alone[529:-1_471], atol=1e-6)
    part, _ = read_audio(data, start=5.0 * RATE / rate, seconds=0.5)
    first = 5 * RATE
    np.testing.assert_allclose(part, wave[first : first + len(part)], atol=1e-6)
    blocks = [block for block, _ in audio_blocks(data, block_seconds=0.5)]
    np.testing.assert_array_equal(np.concatenate(blocks), wave)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "before", [b"ID3\4\0\0\0\0\x20\0" + bytes(4_096), bytes(1_000), b"x" * 777]
)
def test_mp3_behind_something_else(before, capfd):
    data = encoded("mp3")
    np.testing.assert_array_equal(read_audio(before + data)[0], read_audio(data)[0])
    assert capfd.readouterr().err == ""


def test_mp3_with_a_hole(capfd):
    """The decoder writes of it to the standard error stream, which stays for others."""
    data = encoded("mp3", tones(4 * RATE))
    data = data[: len(data) // 2] + bytes(3_000) + data[len(data) // 2 :]
    with pytest.raises(AudioError, match=r"damaged or cut off at 1\.\d\d s"):
        read_audio(data)
    assert capfd.readouterr().err == ""
    stream = mp3.prepared(Stream(io.BytesIO(data)))
    with mp3.silence(stream):
        os.write(2, b"UserWarning: of another thread\n")
        with pytest.raises(soundfile.LibsndfileError):
            soundfile.read(io.BytesIO(data))
    assert capfd.readouterr().err == "UserWarning: of another thread\n"


@pytest.mark.parametrize("kind", ["wav-16", "flac-16", "mp3", "vorbis", "opus"])
def test_noise_in_the_file(kind, capfd):
    """Any byte may be wrong: it is read, or it is an AudioError of one line; nothing else, and no word beside."""
    random = np.random.RandomState(0)
    whole = encoded(kind, tones(RATE))
    messages = []
    for trial in range(60):
        data = bytearray(whole)
        limit = 200 if trial % 2 else len(data)
        for _ in range(1 + trial % 7):
            data[random.randint(limit)] = random.randint(256)
        try:
            wave, _ = read_audio(bytes(data))
            assert np.isfinite(wave).all()
        except AudioError as error:
            messages.append(str(error))
    assert messages
    assert "\n" not in "".join(messages)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": 2.0}, "no samples from 2 s on"),
        ({"start": 1e9}, "no samples from 1e\\+09 s on"),
        ({"start": -1.0}, "the start should be at 0 s or later, not at -1.0 s"),
        ({"start": float("nan")}, "not at nan s"),
        ({"seconds": 0.0}, "no samples in a range of 0.0 s"),
        ({"seconds": float("nan")}, "no samples in a range of nan s"),
        ({"seconds": 1e-6}, "no samples"),
    ],
)
@pytest.mark.parametrize("kind", ["wav-16", "mp3"])
def test_wrong_ranges(options, words, kind):
    with pytest.raises(AudioError, match=words):
        read_audio(encoded(kind), **options)
