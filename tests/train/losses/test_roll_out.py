"""The roll-out under gradient: as by differentiating the steps of generation, and as by finite differences."""

import functools

import jax
import jax.numpy as jnp
import pytest

from ldm_jax.models.gpt2 import GPT2
from ldm_jax.models.translator import Condition, generate_loa
from ldm_jax.train.losses.roll_out import roll_out
from ldm_jax.train.losses.translator import ahead_error, draw_ahead
from tests.golden import random_array, relative_error

jit = functools.partial(  # what is small compiles longer than it runs
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)
GPT = GPT2(vocab_size=2, n_positions=9, n_embd=8, n_layer=2, n_head=2, dtype=jnp.float64)


def problem():
    """(parameters, a condition with a masked and an absent column, a direction in which to go)."""
    embeds = jnp.asarray(random_array("embeds", (2, 5, 8)))
    shapes = jax.eval_shape(GPT.init, jax.random.key(0), embeds)["params"]
    leaves, structure = jax.tree.flatten(shapes)
    made = [
        jnp.asarray(random_array(f"{i}", x.shape)) * (0.7 if x.ndim > 1 else 0.3) + (x.ndim == 1)
        for i, x in enumerate(leaves)
    ]
    direction = [jnp.asarray(random_array(f"to {i}", x.shape)) for i, x in enumerate(leaves)]
    mask = jnp.ones((2, 5), bool).at[1, 1:3].set(False)
    positions = jnp.array([[0, 1, 2, 3, 4], [0, 1, 2, 2, 3]])
    trees = (jax.tree.unflatten(structure, x) for x in (made, direction))
    return (*trees, Condition(embeds, mask, positions))


@pytest.mark.parametrize("n_tokens", [1, 4])
def test_gradient(n_tokens):
    with jax.enable_x64(True):
        params, direction, condition = problem()
        weights = jnp.asarray(random_array("weights", (2, n_tokens, 8)))

        def loss(function, params, embeds):
            loa = function(GPT, params, condition._replace(embeds=embeds), n_tokens=n_tokens)
            return jnp.sum(weights * loa**2)

        both = [
            jit(jax.value_and_grad(functools.partial(loss, f), argnums=(0, 1)))
            for f in (generate_loa, roll_out)
        ]
        (value, expected), (again, found) = (f(params, condition.embeds) for f in both)
        assert abs(again - value) < 1e-10 * abs(value)
        flat = [jnp.concatenate([x.ravel() for x in jax.tree.leaves(g)]) for g in (expected, found)]
        assert relative_error(flat[1], flat[0]) < 1e-10

        def moved(step):
            there = jax.tree.map(lambda x, d: x + step * d, params, direction)
            return jit(functools.partial(loss, generate_loa))(there, condition.embeds)

        slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: jnp.sum(g * d), found[0], direction)))
        assert float(slope) == pytest.approx(float(moved(1e-6) - moved(-1e-6)) / 2e-6, rel=1e-5)


def test_steps_that_do_not_count_leave_no_trace():
    """A roll-out from the last tokens: the scan goes on beyond GPT-2's positions, the gradient stays the same."""
    with jax.enable_x64(True):
        params, _, condition = problem()
        target = jnp.asarray(random_array("target", (2, 4, 8)))

        def error(params, start, steps):
            known = (GPT, params, condition, target)
            return ahead_error(*known, start=start, steps=steps).mean()

        def expected(params):
            given = jnp.concatenate([condition.embeds, target[:, :2]], axis=1)
            last = condition.position_ids[:, -1:]
            longer = Condition(
                given,
                jnp.pad(condition.mask, ((0, 0), (0, 2)), constant_values=True),
                jnp.concatenate([condition.position_ids, last + 1, last + 2], axis=1),
            )
            return jnp.abs(generate_loa(GPT, params, longer, n_tokens=2) - target[:, 2:]).mean()

        ours = jit(jax.value_and_grad(error))(params, jnp.int32(2), jnp.int32(2))
        theirs = jit(jax.value_and_grad(expected))(params)
        flat = [jnp.concatenate([x.ravel() for x in jax.tree.leaves(t)]) for t in (ours, theirs)]
        assert relative_error(flat[0], flat[1]) < 1e-10


@pytest.mark.parametrize("tokens", [2, 4, 8, 512])
def test_where_roll_outs_lie(tokens):
    """All stay inside; steps round(8 u) are k with probability 1/8, and 2 also where fewer came out."""
    keys = jax.random.split(jax.random.key(0), 20_000)
    start, steps = jax.jit(jax.vmap(lambda key: draw_ahead(key, tokens)))(keys)
    assert int(start.min()) == 0
    assert int((start + steps).max()) <= tokens
    assert int(steps.min()) == 2
    assert int(steps.max()) == min(8, tokens)
    share = float((steps == 2).mean())
    assert share == pytest.approx(1.0 if tokens == 2 else 2.5 / 8, abs=0.012)
