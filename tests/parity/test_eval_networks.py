"""VGGish and Cnn14 at their published sizes against their authors' packages, from waves and from pickled files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ldm_jax.audio.panns_features import PANNS, PANNS_32K_WIDE, panns_log_mel
from ldm_jax.audio.vggish_features import vggish_examples
from ldm_jax.convert import cnn14, single
from ldm_jax.convert.files import open_tensors
from ldm_jax.models.cnn14 import Cnn14
from ldm_jax.models.vggish import VGGish
from tests import cases_audio
from tests import cases_eval_networks as cases
from tests.golden import FLOAT32_BOUND, relative_error
from tests.parity import oracle_eval_networks as oracle


@pytest.mark.slow
@pytest.mark.parametrize("rate", [8_000, 16_000, 32_000])
def test_published_cnn14(rate, tmp_path):
    """The file tells its rate; then a wave of 3 s through front end and network of each."""
    settings = PANNS[rate]
    net = oracle.cnn14(Cnn14(), settings)
    oracle.fill(net, cases.weights(oracle.shapes(net)), torch.float32)
    torch.save({"iteration": 3, "model": net.state_dict()}, tmp_path / "Cnn14.pth")
    assert cnn14.sample_rate(open_tensors(tmp_path / "Cnn14.pth")) == rate
    read = single.load(tmp_path / "Cnn14.pth", "cnn14")
    assert read.networks["cnn14"] == Cnn14()
    assert read.sample_rate == rate
    wave = cases_audio.wave(3 * rate + 77, rate).astype(np.float32)
    theirs = oracle.run_cnn14(net, wave)
    log_mel = jnp.asarray(panns_log_mel(wave, settings))[None]
    params = jax.tree.map(jnp.asarray, read.params["cnn14"])
    ours = jax.jit(Cnn14().apply)({"params": params}, log_mel)
    jax.clear_caches()
    for key, x in theirs.items():
        assert relative_error(getattr(ours, key), x) < FLOAT32_BOUND, key


@pytest.mark.slow
def test_published_vggish(tmp_path):
    net = oracle.vggish(VGGish())
    tensors = cases.weights(oracle.shapes(net))
    oracle.fill(net, tensors, torch.float32)
    extras = {"pproc.pca_eigen_vectors": torch.eye(128), "pproc.pca_means": torch.zeros(128, 1)}
    torch.save(net.state_dict() | extras, tmp_path / "vggish-10086976.pth")
    read = single.load(tmp_path / "vggish-10086976.pth", "vggish")
    wave = cases_audio.wave(48_000, 16_000)
    theirs = oracle.run_vggish(net, oracle.vggish_examples(wave))
    examples = jnp.asarray(vggish_examples(wave.astype(np.float32)))
    params = jax.tree.map(jnp.asarray, read.params["vggish"])
    ours = jax.jit(VGGish().apply)({"params": params}, examples)
    jax.clear_caches()
    assert theirs.shape == (3, 128)
    assert relative_error(ours, theirs) < FLOAT32_BOUND


@pytest.mark.parametrize("settings", [*PANNS.values(), PANNS_32K_WIDE])
def test_panns_log_mel(settings):
    wave = cases_audio.wave(2 * settings.sample_rate + 5, settings.sample_rate)
    ours, theirs = panns_log_mel(wave, settings), oracle.panns_log_mel(wave, settings)
    assert relative_error(ours, theirs) < 1e-5


@pytest.mark.parametrize("samples", cases.WAVES)
def test_vggish_examples(samples):
    wave = cases_audio.wave(samples, 16_000)
    assert relative_error(vggish_examples(wave), oracle.vggish_examples(wave)) < 1e-12
