"""musicnn's patches: against librosa, against golden outputs of the package, and NumPy against JAX."""

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from ldm_jax.audio.musicnn_features import musicnn_log_mel, musicnn_patches
from tests import cases_audio
from tests import cases_musicnn as cases
from tests.golden import load, random_array, relative_error


def by_librosa(wave: np.ndarray) -> np.ndarray:
    """Reflected outside: at a length of whole hops librosa 0.11 misses the last sample of the reflection."""
    padded = np.pad(wave, 256, mode="reflect")
    power = librosa.feature.melspectrogram(
        y=padded, sr=16_000, n_fft=512, hop_length=256, n_mels=96, center=False, dtype=wave.dtype
    )
    return np.log10(10_000 * power.T + 1)


@pytest.mark.parametrize("name", cases.WAVES)
@pytest.mark.parametrize("library", [np, jnp])
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-6), ("float64", 1e-12)])
def test_librosa(name, library, dtype, bound):
    """Loud, too."""
    wave = 5 * cases_audio.wave(cases.WAVES[name], 16_000)
    with jax.enable_x64(dtype == "float64"):
        ours = musicnn_log_mel(library.asarray(wave, dtype))
    assert ours.dtype == dtype
    assert relative_error(ours, by_librosa(wave)) < bound
    assert np.abs(np.asarray(ours) - by_librosa(wave)).max() < 20 * bound


@pytest.mark.parametrize("name", cases.WAVES)
def test_golden(name):
    """The package rounds to 16 bits three times; the last step is 2^-9 from 2 to 4."""
    _, outputs = load("musicnn_features")
    wave = cases.LEVEL * cases_audio.wave(cases.WAVES[name], 16_000)
    ours = musicnn_log_mel(wave)
    assert ours.shape == tuple(outputs[f"{name}_shape"])
    theirs = outputs[name].astype(np.float64)
    assert theirs.max() > 2.5
    assert np.abs(ours[cases_audio.kept(len(ours))] - theirs).max() < 2**-9
    count = int(outputs[f"{name}_patches"])
    assert len(musicnn_patches(wave)) == max(count, 1)  # where the package has none, it fails


@pytest.mark.parametrize("library", [np, jnp])
def test_patches(library):
    wave = library.asarray(random_array("wave", (2, 160_000)), np.float32)
    log_mel, patches = musicnn_log_mel(wave), musicnn_patches(wave)
    assert patches.shape == (2, 3, 187, 96)
    np.testing.assert_array_equal(patches[1, 2], log_mel[1, 374:561])
    np.testing.assert_allclose(log_mel[1], musicnn_log_mel(wave[1]), rtol=1e-5)
    short = musicnn_patches(wave[:, :16_000])
    assert short.shape == (2, 1, 187, 96)
    np.testing.assert_array_equal(short[:, 0, :63], musicnn_log_mel(wave[:, :16_000]))
    assert not np.asarray(short[:, 0, 63:]).any()
    assert musicnn_patches(wave[:, : 186 * 256 - 1]).shape == (2, 1, 187, 96)
    assert musicnn_patches(wave[:, : 373 * 256]).shape == (2, 2, 187, 96)
    assert musicnn_patches(wave[:, :257]).shape == (2, 1, 187, 96)
    assert musicnn_patches(wave[:, :256]).shape == (2, 0, 187, 96)
    with pytest.raises(ValueError, match="takes 257"):
        musicnn_log_mel(wave[:, :256])


def test_silence_is_zero():
    np.testing.assert_array_equal(musicnn_log_mel(np.zeros(3_200)), np.zeros((13, 96)))
