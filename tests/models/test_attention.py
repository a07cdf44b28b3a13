import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.models.attention import attend
from ldm_jax.parallel.collectives import collectives
from ldm_jax.parallel.mesh import data_mesh, place, rows
from tests.golden import random_array, relative_error


def reference(query, key, value, mask, bias, scale):
    scores = np.einsum("bqhd,bkhd->bhqk", query, key) * scale
    scores = scores if bias is None else scores + bias
    scores = scores if mask is None else np.where(mask, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bhqk,bkhd->bqhd", weights, value)


@pytest.mark.parametrize("queries", [5, 200])  # all heads at once, one head at a time
@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("scale", [None, 1.0])
def test_is_the_formula(queries, with_mask, with_bias, scale):
    keys, heads, dim = 100 if queries > 100 else 7, 3, 8
    query = random_array("q", (2, queries, heads, dim))
    key, value = random_array("k", (2, keys, heads, dim)), random_array("v", (2, keys, heads, dim))
    mask = None
    if with_mask:
        mask = np.ones((2, 1, 1, keys), bool)
        mask[0, ..., keys // 2 :] = False
    bias = random_array("b", (1, heads, queries, keys)) if with_bias else None
    given = {"scale": scale}
    with jax.enable_x64(True):
        given |= {"mask": None if mask is None else jnp.asarray(mask)}
        given |= {"bias": None if bias is None else jnp.asarray(bias)}
        ours = jax.jit(lambda q, k, v: attend(q, k, v, **given))(query, key, value)
    assert (
        relative_error(ours, reference(query, key, value, mask, bias, scale or dim**-0.5)) < 1e-12
    )


def test_half_precision_has_a_float32_softmax():
    query = random_array("q", (1, 64, 2, 16)) * 3
    half = jnp.asarray(query, jnp.bfloat16)
    ours = attend(half, half, half)
    assert ours.dtype == jnp.bfloat16
    rounded = np.asarray(half, np.float64)
    assert (
        relative_error(
            np.asarray(ours, np.float64), reference(rounded, rounded, rounded, None, None, 0.25)
        )
        < 8e-3
    )


# All heads at once; one head at a time, with all keys, with keys in two parts, with keys that no part divides.
@pytest.mark.parametrize(("queries", "keys"), [(5, 7), (200, 100), (200, 300), (200, 257)])
@pytest.mark.parametrize(("mask", "bias"), [(False, False), (True, False), (True, True)])
def test_gradients_are_the_formulas(queries, keys, mask, bias):
    """Also where a row has no key at all, and of a bias that heads and rows share."""
    heads, dim = 3, 8
    q = random_array("q", (2, queries, heads, dim))
    k, v = random_array("k", (2, keys, heads, dim)), random_array("v", (2, keys, heads, dim))
    w = random_array("w", q.shape)
    b = random_array("b", (1, heads, queries, keys)) if bias else np.zeros((1, 1, 1, 1))
    allowed = np.ones((2, 1, 1, keys), bool)
    if mask:
        allowed[0, ..., keys // 2 :] = False
        allowed[1] = False
    lowest = np.finfo(np.float64).min / 2

    def formula(q, k, v, b):
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * dim**-0.5 + b
        weights = jax.nn.softmax(scores + jnp.where(allowed, 0.0, lowest), axis=-1)
        return (jnp.einsum("bhqk,bkhd->bqhd", weights, v) * w).sum()

    def loss(q, k, v, b):
        return (attend(q, k, v, mask=given, bias=b if bias else None) * w).sum()

    with jax.enable_x64(True):
        given = jnp.asarray(allowed) if mask else None
        ours, theirs = (
            jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2, 3)))(q, k, v, b)
            for f in (loss, formula)
        )
    ours, theirs = (jax.tree.leaves(both)[: 5 if bias else 4] for both in (ours, theirs))
    for mine, its in zip(ours, theirs, strict=True):
        assert relative_error(mine, its) < 1e-12


def test_a_batch_divided_among_devices_stays_where_it_is():
    """Each device computes its own rows, all of their heads, and sends nothing."""
    devices, heads, tokens, dim = 4, 3, 160, 16
    shape = (2 * devices, tokens, heads, dim)
    given = [jnp.asarray(random_array(name, shape)) for name in "qkvw"]

    def gradients(q, k, v, w):
        return jax.grad(lambda q, k, v: (attend(q, k, v) * w).sum(), argnums=(0, 1, 2))(q, k, v)

    mesh = data_mesh(jax.devices()[:devices])
    divided = place(given, rows(mesh))
    programs = [jax.jit(gradients).lower(*x).compile() for x in (given, divided)]
    whole, parts = programs
    assert not collectives(parts.as_text(), devices=devices)
    assert parts.cost_analysis()["flops"] == pytest.approx(
        whole.cost_analysis()["flops"] / devices, rel=0.01
    )
    for one, several in zip(whole(*given), parts(*divided), strict=True):
        assert relative_error(several, one) < 1e-6
