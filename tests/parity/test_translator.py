"""Translator and generate_loa against diffusers, a whole batch of ours against each clip alone."""

import jax
import jax.numpy as jnp
import pytest

from ldm_jax.convert import rules
from ldm_jax.convert import translator as convert_translator
from tests import cases_gpt2
from tests import cases_translator as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND
from tests.models.test_translator import run, worst_error
from tests.parity import oracle_translator as oracle


def compare(config, gpt2, dtype, *, length=9, n_tokens=cases.N_TOKENS) -> float:
    streams = cases.streams(config, length=length)
    tensors = cases.weights(oracle.shapes(config, gpt2))
    theirs = oracle.run(config, gpt2, tensors, streams, n_tokens=n_tokens, dtype=dtype)
    ours = run(config, gpt2, tensors, streams, n_tokens=n_tokens, dtype=dtype)
    return worst_error(ours, theirs, streams)


@pytest.mark.parametrize("name", cases.TINY)
def test_float32(name):
    assert compare(cases.TINY[name], cases.GPT2, "float32") < FLOAT32_BOUND


@pytest.mark.parametrize("name", cases.TINY)
def test_float64(name):
    assert compare(cases.TINY[name], cases.GPT2, "float64") < FLOAT64_BOUND


@pytest.mark.slow
@pytest.mark.parametrize(("name", "length", "n_tokens"), [("base", 128, 8), ("speech", 310, 64)])
def test_published(name, length, n_tokens):
    sizes = {"length": length, "n_tokens": n_tokens}
    error = compare(cases.PUBLISHED[name], cases_gpt2.PUBLISHED, "float32", **sizes)
    assert error < FLOAT32_BOUND


@pytest.mark.parametrize("name", cases.TINY)
def test_export_loads_in_the_peer(name):
    """Our config and weights give the peer the same network: strict names, same embeddings."""
    config = cases.TINY[name]
    streams = cases.streams(config)
    module = convert_translator.from_config(config)
    arrays = [tuple(jnp.asarray(x) for x in stream) for stream in streams]
    params = jax.jit(module.init)(jax.random.key(0), arrays)["params"]
    front = rules.export(params, convert_translator.DIFFUSERS, network="translator")
    tensors = cases.weights(oracle.shapes(config, cases.GPT2))
    tensors |= {f"front.{name}": tensor for name, tensor in front.items()}
    written = convert_translator.to_config(module)
    sizes = {"n_tokens": cases.N_TOKENS, "dtype": "float32"}
    theirs = oracle.run(written, cases.GPT2, tensors, streams, **sizes)
    ours = run(config, cases.GPT2, tensors, streams, **sizes)
    assert worst_error(ours, theirs, streams) < FLOAT32_BOUND
