"""Kaldi's filter bank: against torchaudio's numbers, a literal reading, and itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.audio.kaldi import (
    AUDIOSET_MEAN,
    AUDIOSET_STD,
    ENERGY_FLOOR,
    audiomae_input,
    fbank,
    mel_triangles,
)
from tests import cases_audio
from tests.cases_kaldi import CASES, wave
from tests.golden import load, random_array, relative_error


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("library", [np, jnp])
def test_golden(name, library):
    """torchaudio 2.11's kaldi.fbank in float64, on sound and on digital silence."""
    theirs = load("kaldi")[1][name]
    with jax.enable_x64(True):
        ours = fbank(library.asarray(wave(), np.float64), **CASES[name])
        assert isinstance(ours, jax.Array if library is jnp else np.ndarray)
        assert ours.dtype == np.float64
        assert relative_error(ours, theirs) < 1e-12
    # A bin 10^7 below its frame's peak has no more than three digits in float32.
    ours = fbank(library.asarray(wave(), np.float32), **CASES[name])
    assert ours.dtype == np.float32
    assert relative_error(ours, theirs) < 1e-5
    assert np.abs(ours - theirs).max() < 5e-3


@pytest.mark.parametrize("samples", cases_audio.KALDI)
@pytest.mark.parametrize("library", [np, jnp])
def test_golden_of_sound(samples, library):
    """AudioMAE's settings on 10.24 s, an odd length and a single frame; our float32 beside torchaudio's float64."""
    stored = load("audio_kaldi")[1]
    x = cases_audio.wave(samples, 16_000).astype(np.float32)
    ours = fbank(library.asarray(x - x.mean()), bins=128)
    assert ours.shape == tuple(stored[f"{samples}_shape"])
    ours = ours[cases_audio.kept(len(ours))]
    assert relative_error(ours, stored[str(samples)]) < 1e-5


def literal(x: np.ndarray, bins: int) -> np.ndarray:
    """Sample by sample, with the Fourier sum written out; 16 kHz, frames of 400, one every 160."""
    n = np.arange(400)
    fourier = np.exp(-2j * np.pi * np.outer(np.arange(256), n) / 512)
    top, bottom = (1127 * np.log(1 + f / 700) for f in (8000.0, 20.0))
    width = (top - bottom) / (bins + 1)
    rows = []
    for start in range(0, len(x) - 399, 160):
        frame = x[start : start + 400] - x[start : start + 400].mean()
        emphasised = [frame[i] - 0.97 * frame[max(i - 1, 0)] for i in n]
        windowed = np.asarray(emphasised) * np.sin(np.pi * n / 399) ** 2
        power = np.abs(fourier @ windowed) ** 2
        row = np.zeros(bins)
        for k in range(256):
            place = (1127 * np.log(1 + k * 31.25 / 700) - bottom) / width  # in filters
            for b in range(bins):
                row[b] += power[k] * max(0.0, 1 - abs(place - (b + 1)))
        rows.append(np.log(np.maximum(row, np.finfo(np.float32).eps)))
    return np.stack(rows)


def test_literal_definition():
    x = wave(1_300)
    assert relative_error(fbank(x, bins=128), literal(x, 128)) < 1e-12


@pytest.mark.parametrize("samples", [400, 559, 560, 1_999])
def test_frames_lie_within_the_wave(samples):
    x = wave()
    whole = fbank(x, bins=23)
    part = fbank(x[:samples], bins=23)
    assert len(part) == (samples - 400) // 160 + 1
    np.testing.assert_allclose(part, whole[: len(part)], rtol=1e-13)


def test_batches_and_compilation():
    waves = np.stack([wave(), wave()[::-1]]).astype(np.float32)
    batch = fbank(waves, bins=40)
    for one, x in zip(batch, waves, strict=True):
        np.testing.assert_array_equal(one, fbank(x, bins=40))
    compiled = jax.jit(lambda x: fbank(x, bins=40))(jnp.asarray(waves))
    assert relative_error(compiled, batch) < 1e-5


def test_an_offset_does_not_matter():
    x = wave()
    assert np.abs(fbank(x + 0.25, bins=40) - fbank(x, bins=40)).max() < 1e-6


def test_triangles():
    filters = mel_triangles(bins=128, fft_size=512, sample_rate=16_000, low_hz=20.0)
    assert filters.shape == (257, 128)
    assert (filters[-1] == 0).all()
    # Between the first and the last peak two neighbours share each frequency: weights sum to 1.
    np.testing.assert_allclose(filters[2:250].sum(axis=1), 1.0, atol=1e-12)
    assert (filters.sum(axis=0) == 0).sum() == 1
    # A weight that rounding could move to 0 would make ln(0) of ln(1e-7): there is none.
    assert filters[filters > 0].min() > 1e-3
    with pytest.raises(ValueError, match="read-only"):
        filters[0, 0] = 1.0


def test_too_short():
    with pytest.raises(ValueError, match="399 samples, fewer than a frame's 400"):
        fbank(np.zeros(399), bins=23)


@pytest.mark.parametrize("library", [np, jnp])
def test_audiomae_input(library):
    x = (0.1 * random_array("clip", (2, 163_840)) + 0.3).astype(np.float32)
    out = np.asarray(audiomae_input(library.asarray(x)))
    assert out.shape == (2, 1024, 128)
    assert out.dtype == np.float32
    centred = x.astype(np.float64) - x.mean(axis=1, dtype=np.float64, keepdims=True)
    want = (fbank(centred, bins=128) - AUDIOSET_MEAN) / (2 * AUDIOSET_STD)
    assert want.shape == (2, 1022, 128)
    assert relative_error(out[:, :1022], want) < 1e-5
    np.testing.assert_allclose(out[:, 1022:], 0.46703, atol=1e-5)


def test_audiomae_input_of_short_and_long_waves():
    x = wave()
    short = audiomae_input(x, frames=64)
    assert short.shape == (64, 128)
    np.testing.assert_allclose(short[21:], -AUDIOSET_MEAN / (2 * AUDIOSET_STD), rtol=1e-12)
    np.testing.assert_array_equal(audiomae_input(x, frames=16), short[:16])
    silence = audiomae_input(np.zeros(160_000), frames=8)
    floor = (np.log(ENERGY_FLOOR) - AUDIOSET_MEAN) / (2 * AUDIOSET_STD)
    np.testing.assert_allclose(silence, floor, rtol=1e-12)
