"""CLAP's features: against golden outputs of transformers' extractor, librosa, and each other."""

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from ldm_jax.audio.clap_features import FRAMES, SAMPLES, clap_features, clap_fusion_features
from ldm_jax.audio.mel import mel_filters
from tests import cases_audio
from tests import cases_clap as cases
from tests.golden import load, random_array, relative_error


@pytest.mark.parametrize("name", cases.CLIPS)
def test_golden(name):
    """The peer rounds to float32, also the places that it interpolates at."""
    _, outputs = load("clap_features")
    wave, padding = cases.clip(name), cases.CLIPS[name][1]
    ours = clap_features(wave, padding=padding)
    assert ours.shape == (FRAMES, 64)
    assert relative_error(ours[cases.KEPT_FRAMES], outputs[f"{name}_plain"]) < 1e-5
    fused, longer = clap_fusion_features(wave, padding=padding)
    assert fused.shape == (4, FRAMES, 64)
    assert relative_error(fused[:, cases.KEPT_FRAMES], outputs[f"{name}_fused"]) < 1e-5
    assert bool(longer) == bool(outputs[f"{name}_longer"])


@pytest.mark.parametrize("samples", cases_audio.CLAP)
@pytest.mark.parametrize("library", [np, jnp])
def test_golden_of_sound(samples, library):
    """torchlibrosa's layers in LAION's audio tower, summing in float64, on 10 s, an odd length and the shortest."""
    stored = load("audio_clap")[1]
    wave = library.asarray(cases_audio.wave(samples, 48_000), np.float32)
    ours = clap_features(wave, padding="none")
    assert ours.dtype == np.float32
    assert ours.shape == tuple(stored[f"{samples}_shape"])
    ours = ours[cases_audio.kept(len(ours))]
    assert relative_error(ours, stored[str(samples)]) < 1e-5
    assert np.abs(ours - stored[str(samples)]).max() < 0.01  # dB


@pytest.mark.parametrize("htk", [False, True])
def test_is_librosas_spectrogram(htk):
    wave = random_array("wave", (SAMPLES,))
    power = librosa.feature.melspectrogram(
        y=wave,
        sr=48_000,
        n_fft=1024,
        hop_length=480,
        pad_mode="reflect",
        n_mels=64,
        fmin=50,
        fmax=14_000,
        htk=htk,
        norm=None if htk else "slaney",
        dtype=np.float64,
    )
    theirs = 10 * np.log10(np.maximum(power, 1e-10)).T
    ours = clap_fusion_features(wave)[0][0] if htk else clap_features(wave)
    assert relative_error(ours, theirs) < 1e-8


def test_silence_is_the_floor():
    np.testing.assert_array_equal(clap_features(np.zeros(1000, np.float32)), -100.0)


@pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad", "none"])
def test_padding(padding):
    """The features of a short clip are those of the clip it is filled up to."""
    wave = random_array("wave", (200_000,))
    silence = np.zeros(SAMPLES)
    filled = {
        "repeatpad": np.concatenate([wave, wave, silence]),
        "repeat": np.concatenate([wave, wave, wave]),
        "pad": np.concatenate([wave, silence]),
        "none": wave,
    }[padding][:SAMPLES]
    ours = clap_features(wave, padding=padding)
    np.testing.assert_array_equal(ours, clap_features(filled, padding="none"))
    assert ours.shape == (1 + len(filled) // 480, 64)


def test_crop():
    wave = random_array("wave", (SAMPLES + 9_600,))
    np.testing.assert_array_equal(clap_features(wave), clap_features(wave[:SAMPLES]))
    centre = clap_features(wave, crop="centre")
    np.testing.assert_array_equal(centre, clap_features(wave[4_800:-4_800]))


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("samples", [100_000, SAMPLES, SAMPLES + 200_000])
def test_compiled_equals_numpy(samples, dtype, bound):
    wave = (0.1 * random_array("wave", (2, samples))).astype(dtype)
    plain, fused = clap_features(wave), clap_fusion_features(wave)
    assert plain.dtype == fused[0].dtype == dtype
    with jax.enable_x64(dtype == "float64"):
        ours = jax.jit(lambda x: (clap_features(x), clap_fusion_features(x)))(jnp.asarray(wave))
        assert ours[0].dtype == ours[1][0].dtype == dtype
    assert relative_error(ours[0], plain) < bound
    assert relative_error(ours[1][0], fused[0]) < bound
    np.testing.assert_array_equal(ours[1][1], fused[1], strict=True)
    for row in range(2):  # and a batch is its rows
        np.testing.assert_array_equal(clap_features(wave[row]), plain[row])
        np.testing.assert_array_equal(clap_fusion_features(wave[row])[0], fused[0][row])


def test_gradient():
    """Of the compiled features' sum of squares along a direction: the difference quotient."""
    wave, step = 0.1 * random_array("wave", (4_000,)), 1e-4 * random_array("step", (4_000,))
    energy = jax.jit(lambda x: jnp.sum(clap_features(x, padding="none") ** 2))
    with jax.enable_x64(True):
        slope = float(jax.jvp(energy, (jnp.asarray(wave),), (jnp.asarray(step),))[1])
        quotient = float(energy(wave + 1e-3 * step) - energy(wave - 1e-3 * step)) / 2e-3
    assert abs(slope - quotient) < 1e-5 * abs(quotient)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"wave": np.zeros(0)}, "a clip of 0 samples; with padding 'repeatpad' it takes 1"),
        ({"wave": np.zeros(512), "padding": "none"}, "with padding 'none' it takes 513"),
        ({"wave": np.zeros(600), "padding": "mirror"}, "padding is 'mirror'; it can be"),
        ({"wave": np.zeros(600), "crop": "end"}, "crop is 'end'; it can be 'start' or 'centre'"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        clap_features(**arguments)


def test_mel_filters_are_built_once():
    size = {"sample_rate": 16_000, "n_fft": 512, "num_mels": 20, "fmin": 0.0, "fmax": 8_000.0}
    bank = mel_filters(**size)
    assert bank is mel_filters(**size)
    assert bank.shape == (257, 20)
    with pytest.raises(ValueError, match="read-only"):
        bank[0, 0] = 1
    assert mel_filters(**size, normalise=False).max() <= 1
