"""BERT without torch: against a golden output of transformers, and what must not matter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.convert import bert as convert_bert
from ldm_jax.convert import rules
from ldm_jax.convert.checkpoint import abstract_params
from tests import cases_bert as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, load, random_tensors, relative_error

MODULE = convert_bert.from_config(cases.TINY)


@functools.cache
def stored() -> tuple[dict, dict]:
    """(weights in the peer's names, its outputs)."""
    shapes, outputs = load("bert")
    return random_tensors(shapes), outputs


def params_of(tensors: dict) -> dict:
    return rules.convert(tensors, convert_bert.TRANSFORMERS, abstract_params(MODULE), network="t5")


def run(inputs: dict, *, dtype: str) -> np.ndarray:
    with jax.enable_x64(dtype == "float64"):
        params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params_of(stored()[0]))
        apply = jax.jit(MODULE.clone(dtype=jnp.dtype(dtype)).apply)
        return np.asarray(apply({"params": params}, inputs["token_ids"], inputs["mask"]))


@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", FLOAT32_BOUND), ("float64", FLOAT64_BOUND)]
)
def test_golden(dtype, bound):
    inputs = cases.inputs()
    ours = run(inputs, dtype=dtype)
    assert ours.dtype == dtype
    theirs = stored()[1]["states"]
    assert relative_error(ours[inputs["mask"]], theirs[inputs["mask"]]) < bound


def test_padding_changes_nothing():
    """A row in a longer, differently padded batch gives the states that it gives alone."""
    inputs = cases.inputs()
    batch = run(inputs, dtype="float32")
    for i, length in enumerate(inputs["mask"].sum(axis=1)):
        row = {key: value[i : i + 1, :length] for key, value in inputs.items()}
        assert relative_error(batch[i : i + 1, :length], run(row, dtype="float32")) < 1e-6
    other = inputs | {"token_ids": np.where(inputs["mask"], inputs["token_ids"], 7)}
    np.testing.assert_array_equal(
        run(other, dtype="float32")[inputs["mask"]], batch[inputs["mask"]]
    )


def test_conversion_is_a_bijection():
    """What a whole model has beside it, its pooler and the numbers of positions, is left."""
    tensors = stored()[0]
    rest = {"pooler.dense.weight": np.zeros((24, 24)), "embeddings.position_ids": np.arange(40)}
    back = rules.export(params_of(tensors | rest), convert_bert.TRANSFORMERS, network="t5")
    assert back.keys() == tensors.keys()
    for key, tensor in tensors.items():
        np.testing.assert_array_equal(back[key], tensor)


def test_published_parameters():
    shapes = abstract_params(convert_bert.from_config(cases.PUBLISHED))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == cases.PUBLISHED_PARAMETERS
    assert convert_bert.from_config(cases.PUBLISHED) == type(MODULE)()


@pytest.mark.parametrize("config", [cases.PUBLISHED, cases.TINY])
def test_config_comes_back(config):
    assert convert_bert.to_config(convert_bert.from_config(config)) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "roberta"}, "model_type is 'roberta'; supported is 'bert'"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'; supported is 'gelu'"),
    ],
)
def test_unsupported_configs(change, message):
    with pytest.raises(rules.ConversionError, match=message):
        convert_bert.from_config(cases.TINY | change)


def test_more_tokens_than_positions():
    with pytest.raises(ValueError, match="41 tokens, but there are 40 positions"):
        run(cases.inputs(length=41), dtype="float32")
