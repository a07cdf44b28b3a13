"""VAE against diffusers."""

import jax
import numpy as np
import pytest

from ldm_jax.convert import vae as convert_vae
from ldm_jax.convert.rules import export
from tests import cases_vae as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, random_tensors, relative_error
from tests.models.test_vae import converted, run
from tests.parity import oracle_vae as oracle


def compare(config: dict, inputs: dict, dtype: str) -> float:
    tensors = random_tensors(oracle.shapes(config))
    theirs = oracle.run(config, tensors, inputs, dtype=dtype)
    ours = run(config, tensors, inputs, dtype=dtype)
    assert all(0.1 < x.std() < 10 for x in theirs.values())
    return max(relative_error(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("config", cases.TINY.values(), ids=cases.TINY)
@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", FLOAT32_BOUND), ("float64", FLOAT64_BOUND)]
)
def test_tiny(config, dtype, bound):
    assert compare(config, cases.inputs(config), dtype) < bound


@pytest.mark.slow
@pytest.mark.parametrize("config", [cases.PUBLISHED, cases.PUBLISHED_48K], ids=["16k", "48k"])
def test_published(config):
    assert compare(config, cases.inputs(config, time=40, freq=16), "float32") < FLOAT32_BOUND


def test_published_tensors():
    shapes = oracle.shapes(cases.PUBLISHED)
    assert len(shapes) == cases.PUBLISHED_TENSORS
    assert sum(np.prod(x) for x in shapes.values()) == cases.PUBLISHED_PARAMETERS


@pytest.mark.parametrize("config", cases.TINY.values(), ids=cases.TINY)
def test_export_loads_in_the_peer(config):
    """Config and weights written by us give the peer the same network."""
    tensors = random_tensors(oracle.shapes(config))
    params = converted(config, tensors, convert_vae.DIFFUSERS)
    exported = export(params, convert_vae.DIFFUSERS, network="VAE")
    written = convert_vae.to_config(convert_vae.from_config(config))
    inputs = cases.inputs(config)
    theirs = oracle.run(written, exported, inputs, dtype="float64")
    expected = oracle.run(config, tensors, inputs, dtype="float64")
    jax.tree.map(np.testing.assert_array_equal, theirs, expected)


def test_old_names_are_the_peers():
    """The peer reads attention's old names as we do."""
    config = cases.TINY["two_levels"]
    tensors = random_tensors(oracle.shapes(config))
    model = oracle.load(config, tensors, dtype="float64")
    for module in model.modules():
        if type(module).__name__ == "Attention":
            module._from_deprecated_attn_block = True
    state = cases.rename_as_old(tensors)
    assert state.keys() != tensors.keys()
    model._convert_deprecated_attention_blocks(state)
    assert state.keys() == tensors.keys()
    params = converted(config, cases.rename_as_old(tensors), convert_vae.DIFFUSERS)
    exported = export(params, convert_vae.DIFFUSERS, network="VAE")
    jax.tree.map(np.testing.assert_array_equal, exported, state)
