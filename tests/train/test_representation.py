"""Taking parameters apart and making them again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.convert.random_checkpoint import random_params, tiny
from ldm_jax.models.audiomae import AudioMAE
from ldm_jax.train import lora
from ldm_jax.train.lora import LoRA
from ldm_jax.train.representation import chosen, flat, nested, then

KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def params():
    networks = {name: tiny()[name] for name in ("unet", "gpt2", "vocoder")}
    networks["audiomae"] = AudioMAE((64, 16), embed_dim=16, depth=1, heads=2, decoder="vit")
    made = {name: random_params(x, name=name, seed=0) for name, x in networks.items()}
    made["unet"] = {part: made["unet"][part] for part in ("mid_block", "conv_in")}
    return made


def same(one, other):
    one, other = flat(one), flat(other)
    return one.keys() == other.keys() and all(
        np.array_equal(np.asarray(one[path]), np.asarray(other[path])) for path in one
    )


REPRESENTATIONS = {
    "whole": chosen(),
    "chosen": chosen(("unet/.*attn2", "^gpt2/ln_f/")),
    "lora": lora.representation(LoRA(rank=2)),
    "lora_and_chosen": lora.representation(LoRA(rank=2), also=("/bias$",)),
    "chosen_then_lora": then(chosen(("^unet/",)), lora.representation(LoRA(rank=1, alpha=3.0))),
}


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_joined_again_they_are_what_they_were(params, name):
    trained, held = REPRESENTATIONS[name].split(params, KEY)
    assert same(REPRESENTATIONS[name].join(trained, held), params)
    assert set(trained) == set(params)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_it_is_the_same_under_jit_and_on_shapes(params, name):
    split, join = REPRESENTATIONS[name]
    eager, held = split(params, KEY)
    jitted, _ = jax.jit(split)(params, KEY)
    assert same(eager, jitted)
    shapes = jax.eval_shape(join, *jax.eval_shape(split, params, KEY))
    assert {p: x.shape for p, x in flat(shapes).items()} == {
        p: x.shape for p, x in flat(params).items()
    }
    assert held.keys() >= set()


def test_tables_that_are_made_and_unused_tokens_are_never_trained(params):
    trained, held = chosen().split(params, KEY)
    wanted = {
        *("audiomae/pos_embed", "audiomae/decoder_pos_embed", "gpt2/wte/embedding"),
        *("vocoder/mean", "vocoder/scale"),
    }
    assert flat(held).keys() == wanted
    assert flat(trained).keys() == flat(params).keys() - wanted


def test_only_chosen_paths_have_a_gradient(params):
    split, join = chosen(("unet/.*attn2/to_[kv]/kernel$", "^gpt2/h_1/"))
    trained, held = split(params, KEY)

    def loss(trained):
        return sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(join(trained, held)))

    gradient = flat(jax.jit(jax.grad(loss))(trained))
    paths = {p for p in flat(params) if "attn2/to_k/" in p or "attn2/to_v/" in p or "h_1/" in p}
    assert gradient.keys() == paths
    for path, x in gradient.items():
        np.testing.assert_allclose(x, 2 * flat(params)[path], rtol=1e-6)


def test_join_also_takes_some_of_the_networks(params):
    split, join = lora.representation(LoRA(rank=2))
    trained, held = split(params, KEY)
    one = join({"unet": trained["unet"]}, {"unet": held["unet"]})
    assert same(one, {"unet": params["unet"]})


def test_a_pattern_for_nothing_is_told_with_an_example(params):
    with pytest.raises(ValueError, match=r"no parameter's path has 'atn2' in it \(they are like"):
        chosen(("atn2",)).split(params, KEY)
    with pytest.raises(ValueError, match="no regular expression"):
        chosen(("(",)).split(params, KEY)


def test_flat_and_nested_are_inverses():
    tree = {"a": {"b": np.zeros(1)}, "c": {}}
    assert nested(flat(tree), tree).keys() == {"a", "c"}
