"""PaSST's features: against golden outputs of hear21passt's front end, and NumPy against JAX."""

import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.audio.passt_features import passt_log_mel
from tests import cases_audio
from tests import cases_passt as cases
from tests.golden import load, relative_error


@pytest.mark.parametrize("name", cases.WAVES)
@pytest.mark.parametrize("library", [np, jnp])
def test_golden(name, library):
    """The peer computes in float32."""
    _, outputs = load("passt_features")
    wave = library.asarray(cases_audio.wave(cases.WAVES[name], 32_000), np.float32)
    ours = passt_log_mel(wave)
    assert ours.dtype == np.float32
    assert ours.shape == tuple(outputs[f"{name}_shape"])
    ours = np.asarray(ours)[cases_audio.kept(len(ours))]
    assert relative_error(ours, outputs[name]) < 1e-5
    assert np.abs(ours - outputs[name]).max() < 1e-3


def test_batches_and_lengths():
    waves = np.stack([cases_audio.wave(4_001, 32_000)] * 2) * [[1.0], [0.5]]
    both = passt_log_mel(waves)
    assert both.shape == (2, 4_000 // 320 + 1, 128)
    np.testing.assert_allclose(both[1], passt_log_mel(waves[1]), rtol=1e-12)
    with pytest.raises(ValueError, match="takes 401"):
        passt_log_mel(waves[0, :401])
    assert passt_log_mel(waves[0, :402]).shape == (2, 128)


def test_silence_is_the_floor():
    np.testing.assert_allclose(passt_log_mel(np.zeros(3_200)), (np.log(1e-5) + 4.5) / 5, rtol=1e-12)
