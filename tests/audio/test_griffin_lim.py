"""Waves from spectrograms: how near they come, beside librosa's."""

import pathlib

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from ldm_jax.audio.griffin_lim import griffin_lim, magnitude_from_log_mel, wave_from_log_mel
from ldm_jax.audio.log_mel import CENTRED_16K, MEL_16K, MEL_48K, log_mel
from ldm_jax.audio.reading import read_audio
from ldm_jax.audio.resampling import resample
from ldm_jax.audio.stft import magnitude
from tests.cases_audio import wave
from tests.golden import relative_error

CLIPS = pathlib.Path(__file__).parents[1] / "clips"
TILED = {"n_fft": 1024, "hop": 160, "pad": 432}
CENTRED = TILED | {"pad": 512}


@pytest.fixture(scope="module")
def clip():
    return wave(32_000, 16_000).astype(np.float32)


def test_converges_as_librosas_does():
    """|STFT(wave)| against the magnitudes asked for, of a drum loop: same input, same 32 iterations, six seeds."""
    loop, rate = read_audio(CLIPS / "music/sonic-pi-samples/loop_safari-a74126.opus", seconds=1.5)
    target = magnitude(resample(loop[:, 0], rate, 16_000), **CENTRED)
    ours, theirs = [], []
    for seed in range(6):
        wave = librosa.griffinlim(
            target.T, n_iter=32, hop_length=160, n_fft=1024, pad_mode="reflect", random_state=seed
        )
        theirs.append(relative_error(magnitude(wave, **CENTRED), target))
        wave = griffin_lim(target, **CENTRED, seed=seed)
        ours.append(relative_error(magnitude(wave, **CENTRED), target))
    assert np.mean(ours) < 1.1 * np.mean(theirs)  # seeds differ by 20 %
    assert max(ours) < 0.1


def test_iterations_and_momentum_help(clip):
    target = magnitude(clip, **TILED)

    def error(**options):
        return relative_error(magnitude(griffin_lim(target, **TILED, **options), **TILED), target)

    random, plain, fast = error(iterations=0), error(momentum=0.0), error()
    assert random > 0.6
    assert plain < 0.35 * random
    assert fast < 0.7 * plain


@pytest.mark.parametrize("settings", [MEL_16K, MEL_48K, CENTRED_16K])
def test_magnitudes_have_the_bands(settings):
    """Where the pseudo-inverse, cut off at 0, misses the bands by more."""
    mel = log_mel(wave(24_000, settings.sample_rate).astype(np.float32), settings)
    found = magnitude_from_log_mel(mel, settings)
    assert (found >= 0).all()
    bank = settings.bank.astype(np.float32)
    error = relative_error(found @ bank, np.exp(mel))
    cut = np.maximum(np.exp(mel) @ np.linalg.pinv(bank), 0)
    assert error < 0.011
    assert error < 0.2 * relative_error(cut @ bank, np.exp(mel)) or error < 1e-5


def test_from_log_mel(clip):
    """The log-mel spectrogram of the wave comes back, far nearer than with the pseudo-inverse and random phases."""
    mel = log_mel(clip)
    heard = wave_from_log_mel(mel)
    assert heard.shape == clip.shape
    assert heard.dtype == np.float32
    naive = np.maximum(np.exp(mel) @ np.linalg.pinv(MEL_16K.bank.astype(np.float32)), 0)
    naive = griffin_lim(naive, **TILED, iterations=0)
    error = np.abs(log_mel(heard) - mel).mean()
    assert error < 0.2
    assert error < 0.3 * np.abs(log_mel(naive) - mel).mean()


def test_compiled_equals_numpy(clip):
    """While float32 still knows where it goes: the iteration is chaotic in what is not determined."""
    mel = log_mel(np.stack([clip[:8_000], clip[8_000:16_000]]))
    ours = wave_from_log_mel(mel, iterations=4)
    compiled = jax.jit(lambda x: wave_from_log_mel(x, iterations=4))(jnp.asarray(mel))
    assert ours.shape == (2, 8_000)
    assert relative_error(compiled, ours) < 1e-3


def test_seed(clip):
    target = magnitude(clip[:4_000], **TILED)
    first = griffin_lim(target, **TILED, iterations=2)
    np.testing.assert_array_equal(griffin_lim(target, **TILED, iterations=2), first)
    assert relative_error(griffin_lim(target, **TILED, iterations=2, seed=1), first) > 0.1


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_clips_do_not_depend_on_their_neighbours(clip, array):
    """All begin with the same phases."""
    target = magnitude(clip[:12_000].reshape(3, 4_000).astype(np.float64), **TILED)
    with jax.enable_x64(True):
        together = griffin_lim(array(target), **TILED, iterations=8)
        alone = [griffin_lim(array(target[i]), **TILED, iterations=8) for i in range(3)]
        pairs = griffin_lim(array(target[:2, None]), **TILED, iterations=8)
    assert together.shape == (3, 4_000)
    for i in range(3):
        assert relative_error(together[i], alone[i]) < 1e-9
    assert relative_error(pairs[:, 0], together[:2]) < 1e-9


def test_silence_stays_silent():
    heard = wave_from_log_mel(log_mel(np.zeros(3_200, np.float32)))
    assert np.abs(heard).max() < 1e-4


def test_gradient(clip):
    """That of istft(magnitude * phase) for given phases: sum_i m_i dy/dm_i is y, and its norm that of one transform."""
    asked = jnp.asarray(magnitude(clip[:8000], **TILED))
    weights = np.random.RandomState(0).standard_normal(8000).astype(np.float32)

    def heard(m, iterations):
        return jnp.vdot(griffin_lim(m, **TILED, iterations=iterations)[: len(weights)], weights)

    values = {n: jax.jit(jax.value_and_grad(heard), static_argnums=1)(asked, n) for n in (0, 32)}
    for value, gradient in values.values():
        np.testing.assert_allclose(jnp.vdot(gradient, asked), value, rtol=1e-3)
    given, found = (np.linalg.norm(values[n][1]) for n in (0, 32))
    assert 0.5 < found / given < 3
