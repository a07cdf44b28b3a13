import io

import numpy as np
import pytest
import soundfile

from ldm_jax.data.prepare.codec import OPUS_TAIL, encode, with_serial
from tests.data.prepare.material import noise


def decoded(file, dtype="int16"):
    return soundfile.read(io.BytesIO(file), dtype=dtype)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 192_000])
@pytest.mark.parametrize("count", [1, 4096, 16_001])
def test_flac_keeps_every_sample(rate, count):
    samples = np.random.default_rng(count).integers(-32768, 32768, count).astype(np.int16)
    wave, found = decoded(encode(samples, rate=rate, codec="flac"))
    np.testing.assert_array_equal(wave, samples)
    assert found == rate


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
@pytest.mark.parametrize("seconds", [0.00013, 0.02, 0.7001])
def test_opus_gives_the_samples_in_their_place(rate, seconds):
    time = np.arange(max(1, round(seconds * rate))) / rate
    sweep = np.sin(2 * np.pi * (200 + 1500 * time) * time)
    samples = np.rint(9000 * sweep).astype(np.int16)
    wave, found = decoded(encode(samples, rate=rate, codec="opus"), "float64")
    assert (len(wave), found) == (len(samples) + round(OPUS_TAIL * rate), rate)
    wave = wave[: len(samples)]
    if seconds > 0.5:
        lags = range(-20, 21)
        likeness = [np.dot(np.roll(wave, lag), sweep) for lag in lags]
        assert lags[int(np.argmax(likeness))] in (-1, 0, 1)
        assert max(likeness) > 0.97 * np.linalg.norm(wave) * np.linalg.norm(sweep)


@pytest.mark.parametrize("count", [14_390, 12_178, 18_604])
def test_the_end_of_opus_is_as_good_as_the_rest(count):
    """libsndfile's own encoder spoils the last samples of these tones by up to full scale."""
    tone = 0.5 * np.sin(2 * np.pi * 0.05 * np.arange(count))
    samples = np.rint(tone * 32767).astype(np.int16)
    wave, _ = decoded(encode(samples, rate=16_000, codec="opus"), "float64")
    error = np.abs(wave[:count] - tone)
    assert error[-200:].max() < 2 * error[-4000:-200].max() + 0.02


def test_opus_is_the_same_whenever_it_is_made():
    samples = noise(0, 3.0)
    once = encode(samples, rate=16_000, codec="opus")
    raw = io.BytesIO()
    tail = np.zeros(round(OPUS_TAIL * 16_000), np.int16)
    soundfile.write(raw, np.append(samples, tail), 16_000, format="OGG", subtype="OPUS")
    assert once != raw.getvalue()  # libsndfile's own draws a number by the clock
    assert with_serial(raw.getvalue(), 0) == once
    np.testing.assert_array_equal(decoded(once)[0], decoded(raw.getvalue())[0])


def test_pages_carry_the_serial_number_and_the_checksum_of_rfc_3533():
    file = with_serial(encode(noise(1, 2.0), rate=16_000, codec="opus"), 0xDEADBEEF)
    starts = [i for i in range(len(file)) if file[i : i + 5] == b"OggS\0"]
    assert len(starts) >= 3
    for start, end in zip(starts, [*starts[1:], len(file)], strict=True):
        page = bytearray(file[start:end])
        found = int.from_bytes(page[22:26], "little")
        page[22:26] = bytes(4)
        assert int.from_bytes(page[14:18], "little") == 0xDEADBEEF
        assert found == crc_by_bits(page)


def crc_by_bits(data):
    """The polynomial 0x04C11DB7, highest bit first, from 0."""
    crc = 0
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc
