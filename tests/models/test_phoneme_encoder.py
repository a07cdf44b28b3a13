"""PhonemeEncoder without torch: against golden outputs of transformers; what must not matter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.convert import phoneme_encoder as convert_phoneme_encoder
from ldm_jax.convert import rules
from tests import cases_phoneme_encoder as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, load, relative_error


def convert(config, tensors, table=convert_phoneme_encoder.TRANSFORMERS):
    module = convert_phoneme_encoder.from_config(config)
    expected = jax.eval_shape(
        module.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32), jnp.ones((1, 2), bool)
    )["params"]
    return module, rules.convert(tensors, table, expected, network="the phoneme encoder")


@functools.cache
def jitted(module):
    return jax.jit(module.apply)


def run(config, tensors, inputs, *, dtype: str) -> np.ndarray:
    """Our states of published tensors, in `dtype` throughout."""
    with jax.enable_x64(dtype == "float64"):
        module, params = convert(config, tensors)
        params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)
        apply = jitted(module.clone(dtype=jnp.dtype(dtype)))
        ids, mask = jnp.asarray(inputs["token_ids"]), jnp.asarray(inputs["mask"])
        return np.asarray(apply({"params": params}, ids, mask))


@functools.cache
def stored(name: str):
    config = cases.TINY[name]
    shapes, outputs = load(f"phoneme_encoder_{name}")
    return config, cases.weights(config, shapes), outputs


@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", FLOAT32_BOUND), ("float64", FLOAT64_BOUND)]
)
@pytest.mark.parametrize("name", cases.TINY)
def test_golden(name, dtype, bound):
    config, tensors, outputs = stored(name)
    ours = run(config, tensors, cases.inputs(config), dtype=dtype)
    assert ours.dtype == dtype
    assert relative_error(ours, outputs["states"]) < bound


def test_bfloat16():
    """Half precision stays half, and near: the eight bits of a bfloat16 are 2^-8 = 0.004."""
    config, tensors, outputs = stored("plain")
    ours = run(config, tensors, cases.inputs(config), dtype="bfloat16")
    assert ours.dtype == jnp.bfloat16
    assert relative_error(ours, outputs["states"]) < 0.03


def test_padding_changes_nothing():
    """A row in a longer, differently padded batch gives the states that it gives alone."""
    config, tensors, _ = stored("plain")
    inputs = cases.inputs(config)
    batch = run(config, tensors, inputs, dtype="float32")
    for i, length in enumerate(inputs["mask"].sum(axis=1)):
        row = {key: value[i : i + 1, :length] for key, value in inputs.items()}
        alone = run(config, tensors, row, dtype="float32")
        assert relative_error(batch[i : i + 1, :length], alone) < 1e-6
        assert not batch[i, length:].any()
    other = inputs | {"token_ids": np.where(inputs["mask"], inputs["token_ids"], 7)}
    np.testing.assert_array_equal(run(config, tensors, other, dtype="float32"), batch)


def test_an_empty_row_is_zeros():
    config, tensors, _ = stored("plain")
    inputs = cases.inputs(config)
    inputs["mask"][1] = False
    states = run(config, tensors, inputs, dtype="float32")
    assert not states[1].any()
    assert np.isfinite(states).all()


def test_only_distance_matters():
    """The same phonemes later in a row give the same states, but in another order they do not."""
    config, tensors, _ = stored("plain")
    ids = cases.inputs(config)["token_ids"][:1, :9]
    shifted = np.concatenate([np.zeros((1, 6), np.int32), ids], axis=1)
    here = run(config, tensors, {"token_ids": ids, "mask": ids > 0}, dtype="float32")
    there = run(config, tensors, {"token_ids": shifted, "mask": shifted > 0}, dtype="float32")
    assert relative_error(there[:, 6:], here) < 1e-6
    back = {"token_ids": ids[:, ::-1], "mask": ids > 0}
    assert relative_error(run(config, tensors, back, dtype="float32")[:, ::-1], here) > 0.1


@pytest.mark.parametrize("name", cases.TINY)
def test_conversion_is_a_bijection(name):
    config, tensors, _ = stored(name)
    _, params = convert(config, tensors)
    back = rules.export(params, convert_phoneme_encoder.TRANSFORMERS, network="phoneme encoder")
    assert back.keys() == tensors.keys()
    for key, tensor in tensors.items():
        np.testing.assert_array_equal(back[key], tensor)


def to_official(name: str, tensor: np.ndarray) -> tuple[str, np.ndarray]:
    """A tensor of VitsModel under the name and in the layout of the official checkpoints."""
    part = name.removeprefix("text_encoder.encoder.layers.")
    if part == name:
        return "text_encoder.emb.weight", tensor
    layer, module, *rest = part.split(".")
    head = "text_encoder.encoder."
    norms = {"layer_norm": "norm_layers_1", "final_layer_norm": "norm_layers_2"}
    if module in norms:
        return (
            f"{head}{norms[module]}.{layer}.{ {'weight': 'gamma', 'bias': 'beta'}[rest[0]] }",
            tensor,
        )
    if module == "feed_forward":
        return f"{head}ffn_layers.{layer}.{rest[0]}.{rest[1]}", tensor
    head = f"{head}attn_layers.{layer}."
    if rest[0].startswith("emb_rel_"):
        return head + rest[0], tensor
    tensor = tensor[:, :, None] if rest[1] == "weight" else tensor
    return f"{head}conv_{rest[0][0]}.{rest[1]}", tensor


def test_official_names():
    """The official tensors make the same parameters, and come back; other parts are left."""
    config, tensors, _ = stored("plain")
    _, params = convert(config, tensors)
    official = dict(to_official(*item) for item in tensors.items())
    table = convert_phoneme_encoder.OFFICIAL
    rest = {
        "text_encoder.proj.weight": np.zeros((384, 192, 1)),
        "text_encoder.proj.bias": np.zeros(384),
        "learnable_positional_embedding": np.zeros((1, 192, 310)),
    }
    _, again = convert(config, official | rest, table)
    jax.tree.map(np.testing.assert_array_equal, again, params)
    back = rules.export(params, table, network="phoneme encoder")
    assert back.keys() == official.keys()
    for key, tensor in official.items():
        np.testing.assert_array_equal(back[key], tensor)


def test_the_rest_of_vits_is_left():
    config, tensors, _ = stored("plain")
    names = (
        "text_encoder.project.weight",
        "flow.flows.0.conv_pre.weight",
        "decoder.conv_pre.weight",
        "duration_predictor.conv_pre.weight",
        "posterior_encoder.conv_pre.weight",
        "embed_speaker.weight",
    )
    _, params = convert(config, tensors)
    _, again = convert(config, tensors | dict.fromkeys(names, np.zeros(3)))
    jax.tree.map(np.testing.assert_array_equal, again, params)
    with pytest.raises(rules.ConversionError, match=r"text_encoder\.other"):
        convert(config, tensors | {"text_encoder.other": np.zeros(3)})


def test_published_parameters():
    module = convert_phoneme_encoder.from_config(cases.PUBLISHED)
    shapes = jax.eval_shape(
        module.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32), jnp.ones((1, 2), bool)
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == cases.PUBLISHED_PARAMETERS


@pytest.mark.parametrize("config", [cases.PUBLISHED, *cases.TINY.values()])
def test_config_comes_back(config):
    module = convert_phoneme_encoder.from_config(config)
    assert convert_phoneme_encoder.to_config(module) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'; supported is 'relu'"),
        ({"use_bias": False}, "use_bias is False; supported is True"),
        ({"model_type": "fastspeech2"}, "model_type is 'fastspeech2'; supported is 'vits'"),
        ({"window_size": None}, "window_size is None; it has to be 1 or more"),
        (
            {"num_attention_heads": 5},
            "num_attention_heads is 5, which does not divide hidden_size 192",
        ),
    ],
)
def test_unsupported_configs(change, message):
    with pytest.raises(rules.ConversionError, match=message):
        convert_phoneme_encoder.from_config(cases.PUBLISHED | change)
