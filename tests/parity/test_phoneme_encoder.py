"""PhonemeEncoder against transformers."""

import jax
import jax.numpy as jnp
import pytest

from ldm_jax.convert import phoneme_encoder as convert_phoneme_encoder
from ldm_jax.convert import rules
from tests import cases_phoneme_encoder as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, relative_error
from tests.models.test_phoneme_encoder import run
from tests.parity import oracle_phoneme_encoder as oracle


def compare(config: dict, dtype: str, length: int = 25) -> float:
    inputs = cases.inputs(config, length=length)
    tensors = cases.weights(config, oracle.shapes(config))
    theirs = oracle.run(config, tensors, inputs, dtype=dtype)["states"]
    assert 0.5 < theirs[inputs["mask"]].std() < 2
    ours = run(config, tensors, inputs, dtype=dtype)
    return relative_error(ours, theirs)


@pytest.mark.parametrize("name", cases.TINY)
def test_float32(name):
    assert compare(cases.TINY[name], "float32") < FLOAT32_BOUND


@pytest.mark.parametrize("name", cases.TINY)
def test_float64(name):
    assert compare(cases.TINY[name], "float64") < FLOAT64_BOUND


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", FLOAT32_BOUND), ("float64", FLOAT64_BOUND)]
)
def test_published(dtype, bound):
    assert compare(cases.PUBLISHED, dtype, length=310) < bound


@pytest.mark.parametrize("name", cases.TINY)
def test_export_loads_in_the_peer(name):
    """Config and weights written by us give the peer the same network, by strict names."""
    config = cases.TINY[name]
    inputs = cases.inputs(config)
    module = convert_phoneme_encoder.from_config(config)
    params = module.init(
        jax.random.key(0), jnp.asarray(inputs["token_ids"]), jnp.asarray(inputs["mask"])
    )["params"]
    exported = rules.export(
        params, convert_phoneme_encoder.TRANSFORMERS, network="the phoneme encoder"
    )
    written = convert_phoneme_encoder.to_config(module)
    theirs = oracle.run(written, exported, inputs, dtype="float32")["states"]
    assert relative_error(run(config, exported, inputs, dtype="float32"), theirs) < FLOAT32_BOUND
