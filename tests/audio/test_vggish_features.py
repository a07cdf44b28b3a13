"""VGGish's examples: against golden outputs of torchvggish, and what NumPy and JAX must agree on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.audio.vggish_features import MIN_SAMPLES, example_count, filters, vggish_examples
from tests import cases_audio
from tests import cases_eval_networks as cases
from tests.golden import load, random_array, relative_error


@pytest.mark.parametrize("samples", cases.WAVES)
@pytest.mark.parametrize("library", [np, jnp])
def test_golden(samples, library):
    stored = load("eval_features")[1]
    wave = library.asarray(cases_audio.wave(samples, 16_000), np.float32)
    ours = vggish_examples(wave)
    assert ours.dtype == np.float32
    assert ours.shape == tuple(stored[f"vggish_{samples}_shape"])
    ours, theirs = np.asarray(ours[:, cases.KEPT_FRAMES]), stored[f"vggish_{samples}"]
    assert relative_error(ours, theirs) < 1e-6
    assert np.abs(ours - theirs).max() < 2e-5  # of a natural logarithm


@pytest.mark.parametrize(
    ("samples", "count"),
    [(160_000, 10), (163_840, 10), (32_000, 2), (16_000, 1), (15_600, 1), (15_599, 0), (0, 0)],
)
@pytest.mark.parametrize("library", [np, jnp])
def test_counts(samples, count, library):
    """Too short a clip has no example, which the caller sees."""
    assert example_count(samples) == count
    assert vggish_examples(library.zeros(samples)).shape == (count, 96, 64)
    assert MIN_SAMPLES == 15_600


def test_silence_is_the_offset():
    np.testing.assert_allclose(vggish_examples(np.zeros(16_000)), np.log(0.01), rtol=1e-15)


def test_batches():
    waves = random_array("waves", (2, 3, 32_000))
    ours = vggish_examples(waves)
    assert ours.shape == (2, 3, 2, 96, 64)
    np.testing.assert_array_equal(ours[1, 2], vggish_examples(waves[1, 2]))
    np.testing.assert_array_equal(ours[0, 0, 1], vggish_examples(waves[0, 0, 15_360:])[0])
    with jax.enable_x64(True):
        assert relative_error(jax.jit(vggish_examples)(waves), ours) < 1e-12


def test_gradients():
    """Against differences; and in silence there are some, and they are finite."""
    wave, step = 0.1 * random_array("wave", (16_000,)), 1e-4 * random_array("step", (16_000,))
    energy = jax.jit(lambda x: jnp.sum(vggish_examples(x) ** 2))
    with jax.enable_x64(True):
        slope = float(jax.jvp(energy, (jnp.asarray(wave),), (jnp.asarray(step),))[1])
        quotient = float(energy(wave + 1e-3 * step) - energy(wave - 1e-3 * step)) / 2e-3
        silent = jax.grad(energy)(jnp.zeros(16_000))
    assert abs(slope - quotient) < 1e-5 * abs(quotient)
    assert np.isfinite(silent).all()


def test_filters():
    """Between the centres of the lowest and the highest band two triangles overlap to 1; 0 Hz is out."""
    bank = filters()
    hz = np.arange(257) * 16_000 / 512
    inner = (hz > 200) & (hz < 7_200)
    np.testing.assert_allclose(bank[inner].sum(axis=1), 1, atol=1e-12)
    assert not bank[(hz < 125) | (hz > 7_500)].any()
