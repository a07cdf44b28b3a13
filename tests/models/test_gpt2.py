"""GPT2 without torch: against golden outputs of transformers, and its cache against itself."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.convert import gpt2 as convert_gpt2
from ldm_jax.convert import rules
from ldm_jax.models.gpt2 import GPT2
from tests import cases_gpt2 as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, load, random_array, relative_error


def expected(module: GPT2) -> dict:
    return jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 2, module.n_embd)))[
        "params"
    ]


def convert(config: dict, tensors: dict[str, np.ndarray]):
    module = convert_gpt2.from_config(config)
    table = convert_gpt2.TRANSFORMERS
    return module, rules.convert(tensors, table, expected(module), network="GPT-2")


def stepwise(module: GPT2, params, embeds, mask, position_ids=None, *, steps: int = 5):
    """The states of all columns, the last `steps` of them by `decode_step`, which masks nothing."""
    start = embeds.shape[1] - steps
    variables = {"params": params}
    first, cache = module.apply(
        variables,
        embeds[:, :start],
        mask[:, :start],
        None if position_ids is None else position_ids[:, :start],
        embeds.shape[1] + 2,  # two columns more than are used
        method="prefill",
    )

    def step(cache, embed):
        hidden, cache = module.apply(variables, embed[:, None], cache, method="decode_step")
        return cache, hidden[:, 0]

    _, rest = jax.lax.scan(step, cache, embeds[:, start:].swapaxes(0, 1))
    return jnp.concatenate([first, rest.swapaxes(0, 1)], axis=1)


def run(config, tensors, inputs, *, dtype: str) -> dict[str, np.ndarray]:
    """Our states of published tensors, in `dtype` throughout, in the oracle's four ways."""
    with jax.enable_x64(dtype == "float64"):
        module, params = convert(config, tensors)
        module = module.clone(dtype=jnp.dtype(dtype))
        params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)
        embeds = jnp.asarray(inputs["embeds"], dtype)
        mask, positions = jnp.asarray(inputs["mask"]), jnp.asarray(inputs["position_ids"])

        @jax.jit
        def outputs(params):
            apply = functools.partial(module.apply, {"params": params}, embeds)
            return {
                "whole": apply(),
                "masked": apply(mask=mask),
                "placed": apply(mask=mask, position_ids=positions),
                "stepwise": stepwise(module, params, embeds, mask),
            }

        return jax.tree.map(np.asarray, outputs(params))


@functools.cache
def stored(name: str):
    shapes, outputs = load(f"gpt2_{name}")
    return cases.TINY[name], cases.weights(shapes), outputs


@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", FLOAT32_BOUND), ("float64", FLOAT64_BOUND)]
)
@pytest.mark.parametrize("name", cases.TINY)
def test_golden(name, dtype, bound):
    config, tensors, outputs = stored(name)
    ours = run(config, tensors, cases.inputs(config), dtype=dtype)
    for key, theirs in outputs.items():
        assert ours[key].dtype == dtype
        assert relative_error(ours[key], theirs) < bound, key


def test_cache_follows_position_ids():
    """Decoding after gaps in the positions is the same as the whole sequence at once."""
    config, tensors, _ = stored("default")
    module, params = convert(config, tensors)
    embeds = jnp.asarray(cases.inputs(config)["embeds"], jnp.float32)
    length = embeds.shape[1]
    positions = jnp.stack([jnp.arange(length) + start for start in (0, 4, 20)])
    mask = jnp.ones((3, length), bool).at[1, 3:6].set(False)
    whole = jax.jit(functools.partial(module.apply, {"params": params}))(
        embeds, mask=mask, position_ids=positions
    )
    decoded = jax.jit(functools.partial(stepwise, module, params))(embeds, mask, positions)
    assert relative_error(decoded, whole) < 1e-6


def test_what_is_masked_is_not_seen():
    config, tensors, _ = stored("default")
    module, params = convert(config, tensors)
    inputs = cases.inputs(config)
    embeds, mask = jnp.asarray(inputs["embeds"], jnp.float32), jnp.asarray(inputs["mask"])
    apply = jax.jit(lambda embeds: module.apply({"params": params}, embeds, mask=mask))
    other = jnp.where(mask[:, :, None], embeds, 9.0)
    np.testing.assert_array_equal(apply(embeds)[mask], apply(other)[mask])
    # ... nor what comes later
    later = embeds.at[:, 10:].add(1.0)
    np.testing.assert_array_equal(apply(embeds)[:, :10], apply(later)[:, :10])


def test_dropout_drops_at_its_rate_and_keeps_the_mean():
    module = GPT2(vocab_size=2, n_positions=64, n_embd=64, n_layer=1, n_head=2, dropout=0.25)
    embeds = jnp.asarray(5 + random_array("embeds", (8, 64, 64)), jnp.float32)
    params = jax.jit(module.init)(jax.random.key(0), embeds)
    record = {"deterministic": False, "capture_intermediates": True, "mutable": ["intermediates"]}
    apply = jax.jit(functools.partial(module.apply, **record))
    _, state = apply(params, embeds, rngs={"dropout": jax.random.key(1)})
    dropped = state["intermediates"]["drop"]["__call__"][0]
    kept = np.asarray(dropped != 0)
    assert abs(kept.mean() - 0.75) < 0.01  # 32768 draws: a deviation of 0.0024
    with_positions = np.asarray(embeds + params["params"]["wpe"]["embedding"][None])
    np.testing.assert_allclose(dropped[kept], with_positions[kept] / 0.75, rtol=1e-6)
    branch = np.asarray(state["intermediates"]["h_0"]["mlp"]["__call__"][0])
    assert abs((branch != 0).mean() - 0.75) < 0.01


@pytest.mark.parametrize("name", cases.TINY)
def test_conversion_is_a_bijection(name):
    config, tensors, _ = stored(name)
    _, params = convert(config, tensors)
    back = rules.export(params, convert_gpt2.TRANSFORMERS, network="GPT-2")
    assert back.keys() == tensors.keys()
    for key, tensor in tensors.items():
        np.testing.assert_array_equal(back[key], tensor)


def test_names_of_language_models():
    """GPT2LMHeadModel's prefix, head and the masks that old versions saved."""
    config, tensors, _ = stored("default")
    _, params = convert(config, tensors)
    extra = {
        "transformer.h.0.attn.bias": np.ones((1, 1, 40, 40)),
        "transformer.h.0.attn.masked_bias": np.float32(-1e4),
        "lm_head.weight": tensors["wte.weight"],
    }
    prefixed = {f"transformer.{key}": value for key, value in tensors.items()} | extra
    jax.tree.map(np.testing.assert_array_equal, convert(config, prefixed)[1], params)


def test_published_parameters():
    shapes = expected(convert_gpt2.from_config(cases.PUBLISHED))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == cases.PUBLISHED_PARAMETERS
    assert len(jax.tree.leaves(shapes)) == 148


def test_initial_deviations():
    """GPT-2's: 0.02, and 0.02 / sqrt(2 * 2 layers) into the residual stream."""
    module = GPT2(vocab_size=2, n_embd=96, n_layer=2)
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 1, 96)))["params"]["h_1"]
    names = (("attn", "c_attn"), ("attn", "c_proj"), ("mlp", "c_fc"), ("mlp", "c_proj"))
    deviations = [params[layer][name]["kernel"].std() for layer, name in names]
    assert deviations == pytest.approx([0.02, 0.01, 0.02, 0.01], rel=0.03)


@pytest.mark.parametrize("config", [cases.PUBLISHED, *cases.TINY.values()])
def test_config_comes_back(config):
    assert convert_gpt2.to_config(convert_gpt2.from_config(config)) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation_function": "gelu"}, "activation_function is 'gelu'; supported is 'gelu_new'"),
        ({"scale_attn_by_inverse_layer_idx": True}, "is True; supported is False"),
        ({"attn_pdrop": 0.2}, "dropout rates .* differ"),
    ],
)
def test_unsupported_configs(change, message):
    with pytest.raises(rules.ConversionError, match=message):
        convert_gpt2.from_config(cases.PUBLISHED | change)


def test_too_many_columns():
    module = GPT2(vocab_size=2, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    with pytest.raises(ValueError, match="9 columns, but GPT-2 has 8 positions"):
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 9, 8)))
    prefill = functools.partial(module.apply, method="prefill")
    with pytest.raises(ValueError, match="a cache of 4 columns cannot hold the 5 given"):
        jax.eval_shape(lambda: prefill({"params": {}}, jnp.zeros((1, 5, 8)), None, None, 4))
