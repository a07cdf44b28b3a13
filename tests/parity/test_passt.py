"""PaSST at its published size beside hear21passt; needs PASST_SOURCE, see goldens_passt."""

import jax
import numpy as np
import pytest
import torch

from ldm_jax.audio.passt_features import passt_log_mel
from ldm_jax.convert import passt, rules
from ldm_jax.convert.checkpoint import abstract_params
from tests import cases_audio
from tests import cases_passt as cases
from tests.golden import FLOAT32_BOUND, relative_error
from tests.parity import goldens_passt as oracle

pytestmark = pytest.mark.skipif(not oracle.SOURCE, reason="PASST_SOURCE is not set")


def test_published_size():
    """From the wave to logits and features, 10 s."""
    net = oracle.network(cases.PUBLISHED)
    tensors = cases.weights({name: tuple(x.shape) for name, x in net.state_dict().items()})
    kept = [x for name, x in net.state_dict().items() if not name.startswith("head_dist")]
    assert sum(x.numel() for x in kept) == cases.PUBLISHED_PARAMETERS
    oracle.fill(net, tensors, torch.float32)
    wave = cases_audio.wave(320_000, 32_000).astype(np.float32)[None]
    logits, features = oracle.run(net, torch.from_numpy(oracle.log_mel(torch.from_numpy(wave))))
    module = passt.network_of(tensors)
    assert module == cases.PUBLISHED
    params = rules.convert(tensors, passt.HEAR21PASST, abstract_params(module), network="passt")
    params = jax.tree.map(lambda x: np.asarray(x, np.float32), params)
    ours = jax.jit(lambda p, x: module.apply({"params": p}, x))(params, passt_log_mel(wave))
    assert relative_error(ours.logits, logits) < FLOAT32_BOUND
    assert relative_error(ours.features, features) < FLOAT32_BOUND
