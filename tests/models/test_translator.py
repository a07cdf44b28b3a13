"""Translator and generate_loa without torch: golden outputs of diffusers, and invariances."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.convert import rules
from ldm_jax.convert import translator as convert_translator
from ldm_jax.models.gpt2 import GPT2
from ldm_jax.models.translator import (
    Condition,
    Translator,
    append_tokens,
    generate_loa,
    predict_loa,
)
from tests import cases_translator as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, load, random_array, relative_error
from tests.models.test_gpt2 import convert as convert_gpt2


def expected(module: Translator) -> dict:
    length = module.max_seq_length or 2
    streams = [
        (jnp.zeros((1, length, dim)), jnp.ones((1, length), bool), None)
        for dim in module.stream_dims
    ]
    return jax.eval_shape(module.init, jax.random.key(0), streams)["params"]


def convert(config: dict, tensors: dict, table=convert_translator.DIFFUSERS):
    module = convert_translator.from_config(config)
    return module, rules.convert(tensors, table, expected(module), network="translator")


def run(config, gpt2, tensors, streams, *, n_tokens: int, dtype: str) -> dict[str, np.ndarray]:
    """The batch's `embeds`, `mask`, `position_ids` and `loa`, in `dtype` throughout."""
    with jax.enable_x64(dtype == "float64"):
        front, front_params = convert(config, cases.part(tensors, "front."))
        model, model_params = convert_gpt2(gpt2, cases.part(tensors, "gpt2."))
        front, model = (module.clone(dtype=jnp.dtype(dtype)) for module in (front, model))
        params = jax.tree.map(lambda x: jnp.asarray(x, dtype), (front_params, model_params))
        streams = [(jnp.asarray(x, dtype), jnp.asarray(m), jnp.asarray(p)) for x, m, p in streams]

        @jax.jit
        def outputs(params, streams):
            condition = front.apply({"params": params[0]}, streams)
            loa = generate_loa(model, params[1], condition, n_tokens=n_tokens)
            return {**condition._asdict(), "loa": loa}

        return jax.tree.map(np.asarray, outputs(params, streams))


def worst_error(ours: dict, theirs: dict, streams) -> float:
    """Of our batch against each clip alone; masks and positions have to be the same."""
    errors = []
    for i in range(len(ours["loa"])):
        present = np.concatenate([np.pad(p[i], 1, constant_values=True) for _, _, p in streams])
        np.testing.assert_array_equal(ours["mask"][i][present], theirs[f"mask_{i}"])
        assert not ours["mask"][i][~present].any()
        np.testing.assert_array_equal(ours["position_ids"][i][present], np.arange(present.sum()))
        errors.append(relative_error(ours["embeds"][i][present], theirs[f"embeds_{i}"]))
        errors.append(relative_error(ours["loa"][i], theirs[f"loa_{i}"]))
        official = theirs[f"official_{i}"]
        errors.append(relative_error(ours["loa"][i][: len(official)], official))
    return max(errors)


@functools.cache
def stored(name: str):
    shapes, outputs = load(f"translator_{name}")
    return cases.TINY[name], cases.weights(shapes), outputs


@functools.cache
def ours_of(name: str, dtype: str) -> dict[str, np.ndarray]:
    config, tensors, _ = stored(name)
    sizes = {"n_tokens": cases.N_TOKENS, "dtype": dtype}
    return run(config, cases.GPT2, tensors, cases.streams(config), **sizes)


@functools.cache
def tiny_gpt2():
    return convert_gpt2(cases.GPT2, cases.part(stored("base")[1], "gpt2."))


@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", FLOAT32_BOUND), ("float64", FLOAT64_BOUND)]
)
@pytest.mark.parametrize("name", cases.TINY)
def test_golden(name, dtype, bound):
    """A batch of clips of several lengths, against the peer on each of them alone."""
    ours = ours_of(name, dtype)
    assert ours["loa"].dtype == dtype
    assert worst_error(ours, stored(name)[2], cases.streams(cases.TINY[name])) < bound


def test_bfloat16():
    """The published roll-out length leaves the rounding of 8 bits where it was."""
    low, high = ours_of("base", "bfloat16")["loa"], ours_of("base", "float32")["loa"]
    assert low.dtype == jnp.bfloat16
    assert 1e-4 < relative_error(low, high) < 0.05


def test_a_clip_does_not_depend_on_its_neighbours():
    """The same rows in another order, in a longer bucket, with other things at absent tokens."""
    config, tensors, _ = stored("base")
    streams = cases.streams(config)
    sizes = {"n_tokens": cases.N_TOKENS, "dtype": "float32"}
    loa = ours_of("base", "float32")["loa"]
    (clap, one, _), (text, mask, present) = ([x[::-1] for x in stream] for stream in streams)
    text = np.where(present[:, :, None], text, 5.0)
    longer = [np.pad(x, ((0, 0), (0, 7))) for x in (mask, present)]
    text = np.pad(text, ((0, 0), (0, 7), (0, 0)), constant_values=-3.0)
    other = run(config, cases.GPT2, tensors, [(clap, one, one), (text, *longer)], **sizes)["loa"]
    assert relative_error(other[::-1], loa) < 1e-6


def test_masked_tokens_take_positions_and_absent_ones_do_not():
    config, tensors, _ = stored("base")
    front, params = convert(config, cases.part(tensors, "front."))
    clap, (text, _, _) = cases.streams(config)
    apply = jax.jit(functools.partial(front.apply, {"params": params}))
    mask = jnp.arange(9)[None, :] < jnp.array([[9], [4], [4]])
    present = jnp.arange(9)[None, :] < jnp.array([[9], [6], [4]])
    as_jax = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), (clap[0], text))
    clap = (as_jax[0], jnp.asarray(clap[1]), None)
    got = apply([clap, (as_jax[1], mask, present)])
    # [SOS 0] CLAP [EOS 0] [SOS 1] and nine columns of text come before [EOS 1].
    np.testing.assert_array_equal(got.position_ids[:, -1], [13, 10, 8])
    np.testing.assert_array_equal(got.mask.sum(axis=1), [14, 9, 9])
    # Without `present` every token is: the peers' batches.
    got = apply([clap, (as_jax[1], mask, None)])
    np.testing.assert_array_equal(got.position_ids, np.tile(np.arange(14), (3, 1)))
    # What is absent cannot be attended to, whatever its mask.
    got = apply([clap, (as_jax[1], jnp.ones_like(mask), present)])
    np.testing.assert_array_equal(got.mask.sum(axis=1), [14, 11, 9])


def condition_of(length: int, seed: int = 0) -> Condition:
    embeds = jnp.asarray(random_array("condition", (2, length, 24), seed=seed), jnp.float32)
    mask = jnp.ones((2, length), bool).at[1, 3:5].set(False)
    absent = jnp.zeros((2, length), int).at[1, 3].set(1)
    positions = jnp.arange(length)[None] - jnp.cumsum(absent, axis=1) + absent
    return Condition(embeds, mask, positions)


@functools.cache
def roll_out():
    gpt2, params = tiny_gpt2()
    condition = condition_of(7)
    loa = jax.jit(functools.partial(generate_loa, gpt2, n_tokens=9))(params, condition)
    return gpt2, params, condition, loa


def test_a_roll_out_is_its_own_teacher_forced_prediction():
    """y_i is what the network predicts after y_1 .. y_(i-1), by the whole sequence at once."""
    gpt2, params, condition, loa = roll_out()
    predicted = jax.jit(functools.partial(predict_loa, gpt2))(params, condition, loa)
    assert relative_error(predicted, loa) < 1e-5
    other = loa.at[:, 4:].multiply(-1)  # the first five predictions see y_1 .. y_4 alone
    predicted = jax.jit(functools.partial(predict_loa, gpt2))(params, condition, other)
    assert relative_error(predicted[:, :5], loa[:, :5]) < 1e-5
    assert relative_error(predicted[:, 5:], loa[:, 5:]) > 1e-2


def test_given_tokens_are_continued():
    gpt2, params, condition, loa = roll_out()
    partial = append_tokens(condition, loa[:, :3])
    np.testing.assert_array_equal(partial.position_ids[:, -4:], [[6, 7, 8, 9], [5, 6, 7, 8]])
    rest = jax.jit(functools.partial(generate_loa, gpt2, n_tokens=6))(params, partial)
    assert relative_error(rest, loa[:, 3:]) < 1e-5
    one = jax.jit(functools.partial(generate_loa, gpt2, n_tokens=1))(params, condition)
    assert relative_error(one, loa[:, :1]) < 1e-6


def test_dropout_only_with_a_key():
    gpt2, params = tiny_gpt2()
    condition, target = condition_of(7), jnp.zeros((2, 3, 24))
    predict = jax.jit(functools.partial(predict_loa, gpt2))
    keys = (jax.random.key(0), jax.random.key(0), jax.random.key(1))
    first, again, other = (predict(params, condition, target, key=key) for key in keys)
    np.testing.assert_array_equal(first, again)
    assert relative_error(other, first) > 0.1
    assert relative_error(predict(params, condition, target), first) > 0.1


def test_gradients_reach_the_whole_roll_out():
    """d(sum of the last token)/d(condition) against a finite difference, in float64."""
    with jax.enable_x64(True):
        gpt2, params = tiny_gpt2()
        gpt2 = gpt2.clone(dtype=jnp.float64, n_layer=1)  # the first layer of the two
        params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
        condition = condition_of(5)
        direction = jnp.asarray(random_array("direction", (2, 5, 24)))
        start = condition.embeds.astype(jnp.float64)

        @jax.jit
        def last(step):
            moved = condition._replace(embeds=start + step * direction)
            loa = generate_loa(gpt2, params, moved, n_tokens=3)
            return jnp.sum(loa[:, -1] * direction[:, 0])

        numeric = (last(1e-5) - last(-1e-5)) / 2e-5
        assert float(jax.jit(jax.grad(last))(0.0)) == pytest.approx(float(numeric), rel=1e-6)


@pytest.mark.parametrize("name", cases.TINY)
def test_conversion_is_a_bijection(name):
    config, tensors, _ = stored(name)
    tensors = cases.part(tensors, "front.")
    _, params = convert(config, tensors)
    back = rules.export(params, convert_translator.DIFFUSERS, network="translator")
    assert back.keys() == tensors.keys()
    for key, tensor in tensors.items():
        np.testing.assert_array_equal(back[key], tensor)


def official_names(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of diffusers as the official code names them."""
    names = {
        "projection": "input_sequence_embed_linear.0",
        "projection_1": "input_sequence_embed_linear.1",
    }
    official = {
        f"{new}.{kind}": tensors[f"{old}.{kind}"]
        for old, new in names.items()
        for kind in ("weight", "bias")
    }
    for old, new in (("sos", "start"), ("eos", "end")):
        table = random_array(new, (32, len(tensors["sos_embed"])))
        table[0], table[1] = tensors[f"{old}_embed"], tensors[f"{old}_embed_1"]
        official[f"{new}_of_sequence_tokens.weight"] = table
    return official


@pytest.mark.parametrize("name", cases.TINY)
def test_official_names(name):
    config, tensors, _ = stored(name)
    tensors = cases.part(tensors, "front.")
    _, params = convert(config, tensors)
    official = official_names(tensors)
    places = [{}]
    if (positions := tensors.get("learnable_positional_embedding")) is not None:
        key = "learnable_positional_embedding"
        places = [{key: positions}, {f"cond_stage_models.1.{key}": positions}]
    for place in places:
        _, again = convert(config, official | place, convert_translator.OFFICIAL)
        jax.tree.map(np.testing.assert_array_equal, again, params)
    back = rules.export(params, convert_translator.OFFICIAL, network="translator")
    assert back.keys() == (official | places[-1]).keys()
    for key, tensor in (official | places[-1]).items():
        if key.endswith("_of_sequence_tokens.weight"):  # rows 2 .. 31 are read by nobody
            tensor[2:] = 0
        np.testing.assert_array_equal(back[key], tensor)


@pytest.mark.parametrize("dims", [(5,), (5, 6, 7)])
def test_other_numbers_of_streams(dims):
    """Each stream stands between its own tokens; the official table of as many streams fits."""
    front = Translator(dims, 4)
    streams = [
        (jnp.asarray(random_array("x", (1, 2, dim)), jnp.float32), jnp.ones((1, 2), bool), None)
        for dim in dims
    ]
    params = jax.jit(front.init)(jax.random.key(0), streams)["params"]
    got = jax.jit(front.apply)({"params": params}, streams)
    assert got.embeds.shape == (1, 4 * len(dims), 4)
    for i, (states, _, _) in enumerate(streams):
        suffix = f"_{i}" if i else ""
        dense = params[f"projection{suffix}"]
        want = np.asarray(states[0] @ dense["kernel"] + dense["bias"][None])
        start, *middle, end = np.asarray(got.embeds[0, 4 * i : 4 * i + 4])
        np.testing.assert_array_equal(start, params[f"sos_embed{suffix}"])
        np.testing.assert_allclose(middle, want, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(end, params[f"eos_embed{suffix}"])
    table = convert_translator.official(len(dims))
    official = rules.export(params, table, network="translator")
    again = rules.convert(official, table, params, network="translator")
    jax.tree.map(np.testing.assert_array_equal, again, params)
    with pytest.raises(rules.ConversionError, match="diffusers has two streams"):
        convert_translator.to_config(front)


@pytest.mark.parametrize("name", cases.PUBLISHED)
def test_published_parameters(name):
    shapes = expected(convert_translator.from_config(cases.PUBLISHED[name]))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == cases.PUBLISHED_PARAMETERS[name]


@pytest.mark.parametrize("config", [*cases.PUBLISHED.values(), *cases.TINY.values()])
def test_config_comes_back(config):
    assert convert_translator.to_config(convert_translator.from_config(config)) == config


def test_unsupported_configs():
    with pytest.raises(rules.ConversionError, match="langauge_model_dim missing"):
        convert_translator.from_config({"text_encoder_dim": 2, "text_encoder_1_dim": 3})
    with pytest.raises(rules.ConversionError, match="max_seq_length is None; learned positions"):
        convert_translator.from_config(cases.PUBLISHED["speech"] | {"max_seq_length": None})


def test_bad_input():
    stream = (jnp.zeros((1, 2, 3)), jnp.ones((1, 2), bool), None)
    with pytest.raises(ValueError, match=r"1 streams, but stream_dims is \(3, 3\)"):
        jax.eval_shape(Translator((3, 3), 4).init, jax.random.key(0), [stream])
    front = Translator((3, 3), 4, max_seq_length=5)
    with pytest.raises(ValueError, match=r"last stream has 2 tokens, but .* learned for 5: pad"):
        jax.eval_shape(front.init, jax.random.key(0), [stream, stream])
    small = GPT2(vocab_size=2, n_positions=12, n_embd=24, n_layer=1, n_head=2)
    with pytest.raises(ValueError, match=r"condition of 7 and 6 tokens .* 12 positions"):
        generate_loa(small, {}, condition_of(7), n_tokens=6)
    with pytest.raises(ValueError, match="n_tokens is 0"):
        generate_loa(small, {}, condition_of(7), n_tokens=0)
