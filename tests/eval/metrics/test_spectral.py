"""Distances of waves against auraloss 0.4.0 and ssr_eval's definition, run in float64 on the same waves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.audio.log_mel import MEL_16K, log_mel
from ldm_jax.eval.metrics import spectral
from ldm_jax.eval.metrics.means import ClipMean
from ldm_jax.eval.metrics.state import State

PEERS = {  # of two pairs
    "multi_resolution_stft": ([2.71791904, 2.69908506], {}),
    "si_sdr": ([13.52072048, 14.03344261], {}),
    "lsd 16000": ([2.39327571, 2.39810466], {"sample_rate": 16_000}),
    "lsd 44100": ([2.35256442, 2.38376365], {"sample_rate": 44_100}),
    "lsd 48000": ([2.35558898, 2.38855428], {"sample_rate": 48_000}),
}
FUNCTIONS = {
    "multi_resolution_stft": spectral.multi_resolution_stft_distance,
    "si_sdr": spectral.si_sdr,
    "lsd": spectral.log_spectral_distance,
}


def waves() -> tuple[np.ndarray, np.ndarray]:
    """A random walk and the same with noise, float32: generated, reference."""
    rng = np.random.RandomState(0)
    walk = np.cumsum(rng.randn(2, 20_000), axis=1)
    walk = (walk - walk.mean(axis=1, keepdims=True)) / np.abs(walk).max()
    return walk.astype(np.float32), (walk + 0.05 * rng.randn(2, 20_000)).astype(np.float32)


@pytest.mark.parametrize("case", PEERS)
def test_of_peers(case):
    expected, settings = PEERS[case]
    function, (x, y) = FUNCTIONS[case.split()[0]], waves()
    found = function(x.astype(np.float64), y.astype(np.float64), **settings)
    np.testing.assert_allclose(found, expected, rtol=5e-8)
    np.testing.assert_allclose(function(x, y, **settings), expected, rtol=2e-6)
    jitted = jax.jit(lambda a, b: function(a, b, **settings))(jnp.asarray(x), jnp.asarray(y))
    np.testing.assert_allclose(jitted, expected, rtol=2e-6)


@pytest.mark.parametrize("case", [*PEERS, "log_mel"])
def test_the_shorter_wave_decides(case):
    settings = {"settings": MEL_16K} if case == "log_mel" else PEERS[case][1]
    function = spectral.log_mel_distance if case == "log_mel" else FUNCTIONS[case.split()[0]]
    x, y = waves()
    longer = np.concatenate([x, np.ones((2, 555), np.float32)], axis=1)
    expected = function(x, y, **settings)
    np.testing.assert_array_equal(function(longer, y, **settings), expected)
    with pytest.raises(ValueError, match="clips of 0 and 20000 samples"):
        function(x[:, :0], y, **settings)


def test_log_mel_distance():
    """Half the amplitude is ln 2 lower everywhere above the floor."""
    x = waves()[0].astype(np.float64)
    assert log_mel(x / 2).min() > np.log(1e-5)
    for power in (1, 2):
        found = spectral.log_mel_distance(x / 2, x, MEL_16K, power=power)
        np.testing.assert_allclose(found, np.log(2) ** power, rtol=1e-9)


def test_alike_and_louder():
    x = waves()[0].astype(np.float64)
    assert spectral.log_spectral_distance(x, x, sample_rate=16_000) == pytest.approx(0, abs=1e-9)
    np.testing.assert_array_equal(spectral.multi_resolution_stft_distance(x, x), 0)
    np.testing.assert_allclose(
        spectral.log_spectral_distance(x / 10, x, sample_rate=16_000), 2, rtol=1e-6
    )
    noisy = waves()[1].astype(np.float64)
    np.testing.assert_allclose(
        spectral.si_sdr(3 * noisy + 1, x), spectral.si_sdr(noisy, x), rtol=1e-6
    )


def test_level():
    """audioldm_eval's treatment before LSD: seven frames skipped, no mean, peak 1."""
    x = waves()[0].astype(np.float64) + 0.3
    found = spectral.level(x, skip=7 * 160)
    expected = x[:, 1120:] - x[:, 1120:].mean(axis=1, keepdims=True)
    expected /= np.abs(expected).max(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_array_equal(spectral.level(np.zeros((1, 50)), skip=10), np.zeros((1, 40)))
    with pytest.raises(ValueError, match="a clip of 50 samples; to skip 50 takes more"):
        spectral.level(np.zeros(50), skip=50)


def test_mean_over_clips():
    found = ClipMean().compute(State({"b": np.array([[4.0]]), "a": np.array([[1.0], [3.0]])}, {}))
    assert found.value == pytest.approx(8 / 3)
    assert (found.clips, found.details["std"]) == (2, 1.0)
    with pytest.raises(ValueError, match="rows of width 2"):
        ClipMean().compute(State({"a": np.zeros((1, 2))}, {}))
