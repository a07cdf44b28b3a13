"""CLAP and its features against transformers."""

import jax
import numpy as np
import pytest

from ldm_jax.audio.clap_features import clap_features, clap_fusion_features
from ldm_jax.convert import clap as convert_clap
from ldm_jax.convert import rules
from tests import cases_clap as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, relative_error
from tests.models.test_clap import OUTPUTS, expected, prepare
from tests.parity import oracle_clap as oracle


def compare(config: dict, dtype: str) -> dict[str, float]:
    inputs, tensors = cases.inputs(config), cases.weights(oracle.shapes(config))
    theirs = oracle.run(config, tensors, inputs, dtype=dtype)
    ours = prepare(config, tensors, dtype=dtype)(inputs)
    for key in OUTPUTS[:2]:  # the rows of a batch differ: the inputs matter
        assert np.ptp(theirs[key], axis=0).max() > 0.05
    return {key: relative_error(ours[key], theirs[key]) for key in OUTPUTS}


@pytest.mark.parametrize("name", cases.TINY)
def test_float32(name):
    assert max(compare(cases.TINY[name], "float32").values()) < FLOAT32_BOUND


@pytest.mark.parametrize("name", cases.TINY)
def test_float64(name):
    assert max(compare(cases.TINY[name], "float64").values()) < FLOAT64_BOUND


@pytest.mark.slow
@pytest.mark.parametrize("name", cases.PUBLISHED)
def test_published(name):
    errors = compare(cases.PUBLISHED[name], "float32")
    jax.clear_caches()
    assert max(errors[key] for key in OUTPUTS[:2]) < FLOAT32_BOUND


@pytest.mark.parametrize("name", cases.TINY)
def test_export_loads_in_the_peer(name):
    """Config, weights and buffers written by us are all that the peer wants, and give it the same network."""
    config = cases.TINY[name]
    inputs = cases.inputs(config)
    module = convert_clap.from_config(config)
    keys = jax.random.split(jax.random.key(0), 1000)
    leaves, structure = jax.tree.flatten(expected(module))
    leaves = [jax.random.normal(key, leaf.shape) ** 2 for key, leaf in zip(keys, leaves, strict=False)]
    params = jax.tree.unflatten(structure, leaves)
    exported = rules.export(params, convert_clap.TRANSFORMERS, network="CLAP")
    written, buffers = convert_clap.to_config(module), convert_clap.buffers(module)
    theirs = oracle.run(written, exported, inputs, dtype="float32", buffers=buffers)
    ours = prepare(config, exported, dtype="float32")(inputs)
    for key in OUTPUTS[:2]:
        assert relative_error(ours[key], theirs[key]) < FLOAT32_BOUND
