"""Weight norm as a representation: against the conversion of published checkpoints, and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.convert import vocoder as convert_vocoder
from ldm_jax.convert.checkpoint import abstract_params
from ldm_jax.convert.rules import convert, export
from ldm_jax.train.representation import chosen, flat, nested, then
from ldm_jax.train.weight_norm import kernel, lengths, weight_normed
from tests import cases_vocoder as cases
from tests.golden import FLOAT32_BOUND, load, random_array, relative_error

CONFIG = cases.TINY["rates_of_16k"]
NORMED = weight_normed((r"^vocoder/",))


def params() -> dict:
    tensors = cases.weights(CONFIG, load("vocoder_rates_of_16k")[0])
    module = convert_vocoder.from_config(CONFIG)
    table = convert_vocoder.TRANSFORMERS
    converted = convert(tensors, table, abstract_params(module), network="vocoder")
    return {
        "vocoder": jax.tree.map(jnp.float32, converted),
        "discriminator": {"kernel": jnp.ones(3)},
    }


def test_comes_back():
    before = params()
    trained, held = NORMED.split(before, jax.random.key(0))
    assert held == {}
    assert not [path for path in flat(trained) if path.endswith("vocoder/kernel")]
    assert trained["discriminator"] == before["discriminator"]
    after = NORMED.join(trained, held)
    assert jax.tree.structure(after) == jax.tree.structure(before)
    for path, x in flat(after).items():
        np.testing.assert_allclose(x, flat(before)[path], rtol=1e-6, err_msg=path)
    only = NORMED.join({"vocoder": trained["vocoder"]}, held)
    assert jax.tree.structure(only["vocoder"]) == jax.tree.structure(before["vocoder"])


def test_lengths_are_of_the_channels_that_pytorch_takes():
    """What is trained, written as PyTorch names it, folds to the same kernels."""
    trained, held = NORMED.split(params(), jax.random.key(0))
    longer = {
        path: x * jnp.linspace(0.5, 2.0, x.size) if path.endswith("_g") else x
        for path, x in flat(trained["vocoder"]).items()
    }
    ours = NORMED.join({"vocoder": nested(longer)}, held)["vocoder"]

    plain = {path.replace("kernel_v", "kernel"): x for path, x in longer.items()}
    plain = {path: x for path, x in plain.items() if not path.endswith("_g")}
    directions = export(nested(plain), convert_vocoder.OFFICIAL, network="vocoder")
    tensors = {}
    for name, x in directions.items():
        if path := _path(name):
            g = np.asarray(longer[path])
            tensors[f"{name}_g"] = g.reshape(-1, *(1,) * (x.ndim - 1))
            tensors[f"{name}_v"] = x
        else:
            tensors[name] = x
    module = convert_vocoder.from_config(CONFIG)
    theirs = convert(tensors, convert_vocoder.OFFICIAL, abstract_params(module), network="vocoder")
    changed = 0
    for path, x in flat(theirs).items():
        assert relative_error(flat(ours)[path], x) < FLOAT32_BOUND or not np.any(x), path
        changed += (
            relative_error(flat(ours)[path], plain[path]) > 0.1 if path.endswith("kernel") else 0
        )
    assert changed == sum(path.endswith("_g") for path in longer)


def _path(name: str) -> str:
    """Of g, for a published name of a weight; "" for others."""
    if not name.endswith(".weight"):
        return ""
    parts = name.removesuffix(".weight").split(".")
    if parts[0] == "ups":
        return f"upsampler_{parts[1]}/kernel_g"
    if parts[0] == "resblocks":
        return f"resblocks_{parts[1]}/{parts[2]}_{parts[3]}/kernel_g"
    return f"{parts[0]}/kernel_g"


@pytest.mark.parametrize("axis", [-1, -2])
def test_gradient_along_a_direction_is_none(axis):
    """A kernel does not change with the length of v, so that no gradient goes along it."""
    v = jnp.asarray(random_array("v", (3, 4, 5)), jnp.float32)
    g = jnp.asarray(random_array("g", (v.shape[axis],)), jnp.float32)
    np.testing.assert_allclose(kernel(g, 3 * v, axis), kernel(g, v, axis), rtol=1e-5)
    np.testing.assert_allclose(lengths(kernel(g, v, axis), axis), jnp.abs(g), rtol=1e-5)
    weight = jnp.asarray(random_array("w", v.shape), jnp.float32)
    slope = jax.grad(lambda v: (kernel(g, v, axis) * weight).sum())(v)
    others = tuple(i for i in range(3) if i != axis % 3)
    np.testing.assert_allclose((slope * v).sum(others), 0.0, atol=1e-5)


def test_goes_with_a_choice_of_what_is_trained():
    before = params()
    both = then(chosen(("conv_post",)), NORMED)
    trained, held = both.split(before, jax.random.key(0))
    assert set(flat(trained)) == {
        f"vocoder/conv_post/{name}" for name in ("bias", "kernel_g", "kernel_v")
    }
    after = both.join(trained, held)
    for path, x in flat(after).items():
        np.testing.assert_allclose(x, flat(before)[path], rtol=1e-6, err_msg=path)
