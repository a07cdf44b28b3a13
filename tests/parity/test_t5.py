"""T5Encoder against transformers."""

import jax
import numpy as np
import pytest

from ldm_jax.convert import rules
from ldm_jax.convert import t5 as convert_t5
from ldm_jax.models.t5 import relative_position_bucket
from tests import cases_t5 as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, relative_error
from tests.models.test_t5 import run
from tests.parity import oracle_t5 as oracle


def compare(config: dict, dtype: str, length: int = 40) -> float:
    inputs = cases.inputs(config, length=length)
    tensors = cases.weights(config, oracle.shapes(config))
    theirs = oracle.run(config, tensors, inputs, dtype=dtype)["states"]
    assert 0.2 < theirs.std() < 5
    ours = run(config, tensors, inputs, dtype=dtype)
    return relative_error(ours[inputs["mask"]], theirs[inputs["mask"]])


@pytest.mark.parametrize("name", cases.TINY)
def test_float32(name):
    assert compare(cases.TINY[name], "float32") < FLOAT32_BOUND


@pytest.mark.parametrize("name", cases.TINY)
def test_float64(name):
    assert compare(cases.TINY[name], "float64") < FLOAT64_BOUND


@pytest.mark.slow
def test_published():
    assert compare(cases.PUBLISHED, "float32", length=128) < FLOAT32_BOUND


@pytest.mark.parametrize(("num_buckets", "max_distance"), cases.BUCKETS)
def test_buckets(num_buckets, max_distance):
    sizes = {"num_buckets": num_buckets, "max_distance": max_distance}
    theirs = oracle.bucket(cases.OFFSETS, **sizes)
    np.testing.assert_array_equal(relative_position_bucket(cases.OFFSETS, **sizes), theirs)


@pytest.mark.parametrize("name", cases.TINY)
def test_export_loads_in_the_peer(name):
    """Our config and weights give the peer the same network: strict names, same states."""
    config = cases.TINY[name]
    inputs = cases.inputs(config)
    module = convert_t5.from_config(config)
    params = jax.jit(module.init)(jax.random.key(0), inputs["token_ids"], inputs["mask"])
    exported = rules.export(params["params"], convert_t5.TRANSFORMERS, network="T5")
    written = convert_t5.to_config(module)
    theirs = oracle.run(written, exported, inputs, dtype="float32")["states"]
    ours = run(config, exported, inputs, dtype="float32")
    assert relative_error(ours[inputs["mask"]], theirs[inputs["mask"]]) < FLOAT32_BOUND
