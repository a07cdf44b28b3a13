"""T5Encoder without torch: against golden outputs of transformers, and what must not matter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.convert import rules
from ldm_jax.convert import t5 as convert_t5
from ldm_jax.models.t5 import relative_position_bucket
from tests import cases_t5 as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, load, relative_error


def convert(config: dict, tensors: dict[str, np.ndarray]):
    module = convert_t5.from_config(config)
    expected = jax.eval_shape(
        module.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32), jnp.ones((1, 2), bool)
    )["params"]
    return module, rules.convert(tensors, convert_t5.TRANSFORMERS, expected, network="T5")


def run(config, tensors, inputs, *, dtype: str) -> np.ndarray:
    """Our states of published tensors, in `dtype` throughout."""
    with jax.enable_x64(dtype == "float64"):
        module, params = convert(config, tensors)
        params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)
        apply = jax.jit(module.clone(dtype=jnp.dtype(dtype)).apply)
        ids, mask = jnp.asarray(inputs["token_ids"]), jnp.asarray(inputs["mask"])
        return np.asarray(apply({"params": params}, ids, mask))


@functools.cache
def stored(name: str):
    config = cases.TINY[name]
    shapes, outputs = load(f"t5_{name}")
    return config, cases.weights(config, shapes), outputs


@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", FLOAT32_BOUND), ("float64", FLOAT64_BOUND)]
)
@pytest.mark.parametrize("name", cases.TINY)
def test_golden(name, dtype, bound):
    config, tensors, outputs = stored(name)
    inputs = cases.inputs(config)
    ours = run(config, tensors, inputs, dtype=dtype)
    assert ours.dtype == dtype
    assert relative_error(ours[inputs["mask"]], outputs["states"][inputs["mask"]]) < bound


def test_bfloat16():
    config, tensors, outputs = stored("gated")
    inputs = cases.inputs(config)
    ours = run(config, tensors, inputs, dtype="bfloat16")
    assert ours.dtype == jnp.bfloat16
    error = relative_error(ours[inputs["mask"]], outputs["states"][inputs["mask"]])
    assert 1e-4 < error < 0.03


@pytest.mark.parametrize(("num_buckets", "max_distance"), cases.BUCKETS)
def test_buckets(num_buckets, max_distance):
    theirs = load("t5_buckets")[1][f"{num_buckets}_{max_distance}"]
    ours = relative_position_bucket(
        cases.OFFSETS, num_buckets=num_buckets, max_distance=max_distance
    )
    np.testing.assert_array_equal(ours, theirs)


def test_padding_changes_nothing():
    """A row in a longer, differently padded batch gives the states that it gives alone."""
    config, tensors, _ = stored("gated")
    inputs = cases.inputs(config)
    batch = run(config, tensors, inputs, dtype="float32")
    for i, length in enumerate(inputs["mask"].sum(axis=1)):
        row = {key: value[i : i + 1, :length] for key, value in inputs.items()}
        alone = run(config, tensors, row, dtype="float32")
        assert relative_error(batch[i : i + 1, :length], alone) < 1e-6
    other = inputs | {"token_ids": np.where(inputs["mask"], inputs["token_ids"], 7)}
    np.testing.assert_array_equal(
        run(config, tensors, other, dtype="float32")[inputs["mask"]], batch[inputs["mask"]]
    )


@pytest.mark.parametrize("name", cases.TINY)
def test_conversion_is_a_bijection(name):
    config, tensors, _ = stored(name)
    _, params = convert(config, tensors)
    back = rules.export(params, convert_t5.TRANSFORMERS, network="T5")
    assert back.keys() == tensors.keys()
    for key, tensor in tensors.items():
        np.testing.assert_array_equal(back[key], tensor)


def test_names_of_whole_checkpoints():
    """The tied table may come under either name or both; decoder and token head are left."""
    config, tensors, _ = stored("gated")
    _, params = convert(config, tensors)
    table = tensors["shared.weight"]
    rest = {key: value for key, value in tensors.items() if key != "shared.weight"}
    decoder = {"decoder.block.0.layer.0.SelfAttention.q.weight": table, "lm_head.weight": table}
    for names in (
        ["shared.weight", "encoder.embed_tokens.weight"],
        ["encoder.embed_tokens.weight"],
    ):
        _, again = convert(config, rest | decoder | dict.fromkeys(names, table))
        jax.tree.map(np.testing.assert_array_equal, again, params)


def test_published_parameters():
    module = convert_t5.from_config(cases.PUBLISHED)
    shapes = jax.eval_shape(
        module.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32), jnp.ones((1, 2), bool)
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == cases.PUBLISHED_PARAMETERS


@pytest.mark.parametrize("config", [cases.PUBLISHED, *cases.TINY.values()])
def test_config_comes_back(config):
    assert convert_t5.to_config(convert_t5.from_config(config)) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feed_forward_proj": "gated-silu"}, r"feed_forward_proj is 'gated-silu'; supported are"),
        ({"model_type": "mt5"}, "model_type is 'mt5'; supported is 't5'"),
    ],
)
def test_unsupported_configs(change, message):
    with pytest.raises(rules.ConversionError, match=message):
        convert_t5.from_config(cases.PUBLISHED | change)
