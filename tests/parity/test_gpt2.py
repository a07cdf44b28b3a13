"""GPT2 against transformers."""

import jax
import jax.numpy as jnp
import pytest

from ldm_jax.convert import gpt2 as convert_gpt2
from ldm_jax.convert import rules
from tests import cases_gpt2 as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, relative_error
from tests.models.test_gpt2 import run
from tests.parity import oracle_gpt2 as oracle


def compare(config: dict, dtype: str, length: int = 17) -> float:
    inputs = cases.inputs(config, length=length)
    tensors = cases.weights(oracle.shapes(config))
    theirs = oracle.run(config, tensors, inputs, dtype=dtype)
    ours = run(config, tensors, inputs, dtype=dtype)
    assert ours.keys() == theirs.keys()
    return max(relative_error(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("name", cases.TINY)
def test_float32(name):
    assert compare(cases.TINY[name], "float32") < FLOAT32_BOUND


@pytest.mark.parametrize("name", cases.TINY)
def test_float64(name):
    assert compare(cases.TINY[name], "float64") < FLOAT64_BOUND


@pytest.mark.slow
def test_published():
    assert compare(cases.PUBLISHED, "float32", length=133) < FLOAT32_BOUND


@pytest.mark.parametrize("name", cases.TINY)
def test_export_loads_in_the_peer(name):
    """Our config and weights give the peer the same network: strict names, same states."""
    config = cases.TINY[name]
    inputs = cases.inputs(config)
    module = convert_gpt2.from_config(config)
    params = jax.jit(module.init)(jax.random.key(0), jnp.asarray(inputs["embeds"]))["params"]
    exported = rules.export(params, convert_gpt2.TRANSFORMERS, network="GPT-2")
    theirs = oracle.run(convert_gpt2.to_config(module), exported, inputs, dtype="float32")
    ours = run(config, exported, inputs, dtype="float32")
    assert max(relative_error(ours[key], theirs[key]) for key in theirs) < FLOAT32_BOUND
