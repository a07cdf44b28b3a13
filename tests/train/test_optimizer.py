"""Optimisers against PyTorch's, update by update, and what weight decay, factors and freezing touch."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ldm_jax.convert.checkpoint import abstract_params
from ldm_jax.convert.random_checkpoint import speaking, tiny
from ldm_jax.models.audiomae import AudioMAE
from ldm_jax.train import optimizer as optimizers
from ldm_jax.train.optimizer import Optimizer
from ldm_jax.train.representation import chosen, flat, nested
from tests import cases_optimizer as cases
from tests.golden import load, relative_error

NETWORKS = {
    **speaking(tiny(), 24),
    **tiny(),
    "audiomae": AudioMAE(embed_dim=16, depth=2, heads=2, decoder="swin", decoder_dim=16),
}


def run(settings, *, updates=cases.UPDATES):
    """Parameters after each update, as a list a path."""
    made = optimizers.transformation(settings, total_steps=cases.UPDATES)
    params = nested({name: jnp.asarray(x, jnp.float32) for name, x in cases.start().items()})
    state = made.init(params)
    path = {name: [] for name in cases.SHAPES}
    advance = jax.jit(made.update)
    for update in range(updates):
        grads = {name: jnp.asarray(x, jnp.float32) for name, x in cases.gradient(update).items()}
        updates_, state = advance(nested(grads), state, params)
        params = optax.apply_updates(params, updates_)
        for name, x in flat(params).items():
            path[name].append(np.asarray(x))
    return {name: np.stack(values) for name, values in path.items()}


@pytest.mark.parametrize("name", cases.CASES)
def test_every_update_is_pytorchs(name):
    _, golden = load("optimizer")
    settings = Optimizer(**cases.CASES[name][2])
    ours = run(settings)
    for parameter, x in cases.start().items():
        moved = golden[f"{name}/{parameter}"] - x
        assert relative_error(ours[parameter] - x.astype(np.float32), moved) < 1e-5, parameter
    rates = [
        float(optimizers.learning_rate(settings, n, total_steps=cases.UPDATES))
        for n in range(cases.UPDATES)
    ]
    np.testing.assert_allclose(rates, golden[f"{name}/rates"], rtol=2e-6, atol=1e-12)


def test_the_inverse_square_root_goes_on_from_the_warmup():
    settings = Optimizer(learning_rate=0.2, warmup_steps=4, schedule="inverse_sqrt")
    rates = [float(optimizers.learning_rate(settings, n, total_steps=99)) for n in (0, 2, 4, 16)]
    np.testing.assert_allclose(rates, [0, 0.1, 0.2, 0.1], rtol=1e-6)


def test_the_first_moment_alone_is_kept_in_bfloat16():
    made = optimizers.transformation(Optimizer(first_moment_dtype="bfloat16"), total_steps=9)
    state = made.init(nested({name: jnp.ones(s) for name, s in cases.SHAPES.items()}))
    (adam,) = [x for x in jax.tree.leaves(state, is_leaf=is_adam) if is_adam(x)]
    assert {x.dtype for x in jax.tree.leaves(adam.mu)} == {jnp.dtype("bfloat16")}
    assert {x.dtype for x in jax.tree.leaves(adam.nu)} == {jnp.dtype("float32")}


def is_adam(x):
    return isinstance(x, optax.ScaleByAdamState)


# Of each network, what is multiplied by no input, in the words of its paths: none of it decays.
ADDED_OR_SCALED = {
    "unet": {"bias", "scale"},
    "vae": {"bias", "scale"},
    "vocoder": {"bias", "mean", "scale"},
    "clap": {
        *("bias", "scale", "running_mean", "running_var", "relative_position_bias_table"),
        *("logit_scale_a", "logit_scale_t", "position_embeddings", "token_type_embeddings"),
    },
    "t5": {"scale", "relative_attention_bias"},
    "gpt2": {"bias", "scale", "wpe"},
    "translator": {"bias", "sos_embed", "eos_embed", "sos_embed_1", "eos_embed_1"},
    "phoneme_encoder": {"bias", "scale", "emb_rel_k", "emb_rel_v"},
    "audiomae": {
        *("bias", "scale", "cls_token", "mask_token", "pos_embed", "decoder_pos_embed"),
        *("relative_position_bias_table", "tau"),
    },
}


@pytest.mark.parametrize("name", NETWORKS)
def test_only_what_multiplies_an_input_decays(name):
    shapes = flat({name: abstract_params(NETWORKS[name])})
    spared = {path for path in shapes if not optimizers.decays(path)}
    words = {word for path in spared for word in path.split("/")[-2:]} & ADDED_OR_SCALED[name]
    assert words == ADDED_OR_SCALED[name] & {w for path in shapes for w in path.split("/")}
    for path, shape in shapes.items():
        expected = not set(path.split("/")[-2:]) & ADDED_OR_SCALED[name]
        assert optimizers.decays(path) == expected, path
        if optimizers.decays(path):
            assert len(shape.shape) >= 2


def test_decay_alone_shrinks_by_rate_times_decay():
    settings = Optimizer(learning_rate=0.5, weight_decay=0.2)
    made = optimizers.transformation(settings, total_steps=1)
    params = {"unet": {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.full(2, 3.0)}}
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = made.update(zero, made.init(params), params)
    moved = optax.apply_updates(params, updates)["unet"]
    np.testing.assert_allclose(moved["kernel"], 3.0 * (1 - 0.5 * 0.2), rtol=1e-6)
    np.testing.assert_array_equal(moved["bias"], 3.0)


def test_a_factor_scales_update_and_decay_of_its_paths():
    fields = {"learning_rate": 1e-2, "weight_decay": 0.1, "decayed": "all"}
    plain = run(Optimizer(**fields), updates=1)
    factors = (("dense/kernel", 0.5), ("dense", 0.25), ("norm", 0.0))
    scaled = run(Optimizer(**fields, multipliers=factors), updates=1)
    start = cases.start()
    wanted = {"unet/dense/kernel": 0.5, "unet/dense/bias": 0.25, "unet/norm/scale": 0.0}
    for path, factor in wanted.items():
        np.testing.assert_allclose(
            scaled[path][0] - start[path], factor * (plain[path][0] - start[path]), atol=2e-7
        )


def test_a_factor_for_nothing_is_told():
    made = optimizers.transformation(Optimizer(multipliers=(("attn9", 0.1),)), total_steps=1)
    with pytest.raises(ValueError, match=r"'attn9'.*unet/conv/kernel"):
        made.init({"unet": {"conv": {"kernel": jnp.ones((2, 2))}}})


def test_running_statistics_are_left_to_the_stage():
    params = {"clap": {"norm": {"running_mean": jnp.ones(3), "scale": jnp.ones(3)}}}
    made = optimizers.transformation(Optimizer(decayed="all"), total_steps=1)
    updates, _ = made.update(jax.tree.map(jnp.ones_like, params), made.init(params), params)
    np.testing.assert_array_equal(updates["clap"]["norm"]["running_mean"], 0)
    assert np.all(np.asarray(updates["clap"]["norm"]["scale"]) < 0)


def test_what_is_held_costs_no_memory_of_the_optimiser():
    params = {"unet": abstract_params(NETWORKS["unet"])}
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), params)
    made = optimizers.transformation(Optimizer(), total_steps=1)
    sizes = []
    for patterns in (("",), ("attn2/to_k/kernel$",)):
        trained, _ = chosen(patterns).split(zeros, jax.random.key(0))
        moments = made.init(trained)
        count = sum(x.size for x in jax.tree.leaves(trained))
        counters = [x for x in jax.tree.leaves(moments) if x.ndim == 0]
        assert sum(x.nbytes for x in jax.tree.leaves(moments)) == 8 * count + 4 * len(counters)
        sizes.append(count)
    assert sizes[1] * 30 < sizes[0]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "lion"}, r"kind is 'lion'; it can be adamw, adam"),
        ({"schedule": "cosin"}, r"schedule is 'cosin'; it can be constant"),
        ({"learning_rate": -1.0}, r"learning_rate must be 0 or more"),
        ({"clip_norm": float("nan")}, r"clip_norm must be 0 or more"),
        ({"b2": 1.0}, r"b2 must be at least 0 and below 1"),
        ({"schedule": "step"}, r"needs decay_steps"),
        ({"first_moment_dtype": "float16"}, r"first_moment_dtype"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(fields, words):
    with pytest.raises(ValueError, match=words) as error:
        optimizers.check(Optimizer(**fields))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("b2", [0.0, 0.999, 0.99999])
def test_the_first_update_is_of_the_learning_rate(b2):
    """g / |g|, to float32's last digits: 1 - b2 as a difference of float32 numbers is off by 3e-5 for 0.999."""
    gradient = {"a": {"kernel": jnp.asarray([[3.0, -0.02]])}}
    settings = Optimizer(kind="adam", learning_rate=0.5, b2=b2, weight_decay=0.0)
    made = optimizers.transformation(settings, total_steps=9)
    updates, _ = made.update(gradient, made.init(gradient), gradient)
    np.testing.assert_allclose(updates["a"]["kernel"], [[-0.5, 0.5]], rtol=1e-6)


def test_a_state_that_sees_what_is_not_finite_stays_as_it_is():
    made = optimizers.transformation(Optimizer(clip_norm=1.0), total_steps=9)
    params = {"a": {"kernel": jnp.ones((2, 2))}}
    _, before = made.update(params, made.init(params), params)
    bad = {"a": {"kernel": jnp.full((2, 2), jnp.nan)}}
    _, after = made.update(bad, before, params, norm=jnp.float32(jnp.nan), finite=jnp.bool_(False))
    jax.tree.map(np.testing.assert_array_equal, after, before)


def test_clipping_is_of_the_norm_over_all_networks():
    grads = {"a": {"kernel": jnp.full((2, 2), 3.0)}, "b": {"kernel": jnp.full((4, 4), 2.0)}}
    settings = Optimizer(kind="adam", b1=0.0, b2=0.0, eps=1e9, weight_decay=0, clip_norm=0.5)
    made = optimizers.transformation(settings, total_steps=1)
    # With so large an eps Adam's update is the gradient itself, divided by eps.
    updates, _ = made.update(grads, made.init(grads), grads)
    norm = optax.tree.norm(updates) / settings.learning_rate * 1e9
    np.testing.assert_allclose(norm, 0.5, rtol=1e-5)
    ratio = itertools.chain(updates["a"]["kernel"].ravel(), updates["b"]["kernel"].ravel())
    np.testing.assert_allclose(np.unique(np.round([x * 1e14 for x in ratio], 2)).size, 2)
