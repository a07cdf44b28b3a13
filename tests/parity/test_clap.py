"""CLAP and its features against transformers."""

import jax
import numpy as np
import pytest

from ldm_jax.audio.clap_features import clap_features, clap_fusion_features
from ldm_jax.convert import clap as convert_clap
from ldm_jax.convert import rules
from ldm_jax.models.htsat import bicubic_taps
from tests import cases_clap as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, random_array, relative_error
from tests.models.test_clap import OUTPUTS, expected, prepare
from tests.parity import oracle_clap as oracle


def compare(config: dict, dtype: str) -> dict[str, float]:
    inputs, tensors = cases.inputs(config), cases.weights(oracle.shapes(config))
    theirs = oracle.run(config, tensors, inputs, dtype=dtype)
    ours = prepare(config, tensors, dtype=dtype)(inputs)
    for key in OUTPUTS[:2]:  # unit vectors, yet far from each other: the inputs matter
        assert np.abs(np.diff(theirs[key], axis=0)).sum(axis=1).min() > 0.1, key
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
    """Config, weights and buffers written by us load strictly, and give the same network."""
    config = cases.TINY[name]
    inputs = cases.inputs(config)
    module = convert_clap.from_config(config)
    keys = jax.random.split(jax.random.key(0), 1000)
    leaves, structure = jax.tree.flatten(expected(module))
    leaves = [
        jax.random.normal(key, leaf.shape) ** 2 for key, leaf in zip(keys, leaves, strict=False)
    ]
    params = jax.tree.unflatten(structure, leaves)
    exported = rules.export(params, convert_clap.TRANSFORMERS, network="CLAP")
    written, buffers = convert_clap.to_config(module), convert_clap.buffers(module)
    theirs = oracle.run(written, exported, inputs, dtype="float32", buffers=buffers)
    ours = prepare(config, exported, dtype="float32")(inputs)
    for key in OUTPUTS[:2]:
        assert relative_error(ours[key], theirs[key]) < FLOAT32_BOUND


@pytest.mark.parametrize("name", cases.CLIPS)
def test_features(name):
    """Bounds of float32, which the peer rounds to."""
    wave, padding = cases.clip(name), cases.CLIPS[name][1]
    theirs, _ = oracle.features(wave, padding=padding, fusion=False)
    assert relative_error(clap_features(wave, padding=padding), theirs) < 1e-5
    theirs, longer = oracle.features(wave, padding=padding, fusion=True)
    ours, ours_longer = clap_fusion_features(wave, padding=padding)
    assert relative_error(ours, theirs) < 1e-5
    assert bool(ours_longer) == longer


def test_crop_at_the_centre():
    wave = cases.clip("longer")
    theirs, _ = oracle.features(wave, padding="pad", fusion=False, start=110_000)
    assert relative_error(clap_features(wave, crop="centre"), theirs) < 1e-5


@pytest.mark.parametrize(("length", "out_length"), [(1001, 1024), (501, 1024), (7, 13), (250, 256)])
def test_bicubic_taps(length, out_length):
    """In float32 the peer rounds the positions, which matters little against a step of 1."""
    x = random_array("x", (length, 5))
    places, weights = bicubic_taps(length, out_length)
    ours = (x[places] * weights[:, :, None]).sum(axis=1)
    assert relative_error(ours, oracle.bicubic(x, out_length)) < 1e-12
    assert relative_error(ours, oracle.bicubic(x.astype(np.float32), out_length)) < 1e-4
