import jax
import jax.numpy as jnp
import numpy as np

from ldm_jax.parallel.program import program
from tests.golden import random_array


def branches(x):
    """Eight independent products; no more than two need be there at once."""
    return sum(jnp.tanh(x @ x.T * i) @ x for i in range(1, 9))


def intermediate_bytes(name):
    """Of the program of that name, which is compiled and in use."""
    for executable in jax.devices()[0].client.live_executables():
        if [module.name for module in executable.hlo_modules()] == [name]:
            return executable.get_compiled_memory_stats().temp_size_in_bytes
    raise KeyError(name)


def test_the_order_needs_little_memory():
    def ordered(x):
        return branches(x)

    def unordered(x):
        return branches(x)

    x = jnp.ones((512, 64))
    ours, theirs = program(ordered), jax.jit(unordered)
    np.testing.assert_array_equal(ours(x), theirs(x))
    assert intermediate_bytes("jit_ordered") < 4 * 512 * 512 * 4
    assert intermediate_bytes("jit_ordered") < intermediate_bytes("jit_unordered") / 2


def test_within_other_transformations_it_is_plain():
    ours, x = program(branches), random_array("x", (8, 4)).astype(np.float32)
    np.testing.assert_allclose(ours(x), branches(x), rtol=1e-5)
    np.testing.assert_allclose(jax.jit(lambda x: ours(x) * 2)(x), 2 * branches(x), rtol=1e-5)
    theirs = jax.grad(lambda x: branches(x).sum())(x)
    np.testing.assert_allclose(jax.grad(lambda x: ours(x).sum())(x), theirs, rtol=1e-4)


def test_static_arguments_and_donation():
    ours = program(lambda x, *, power: x**power, static_argnames="power", donate_argnums=0)
    x = jnp.arange(3.0)
    np.testing.assert_array_equal(ours(x, power=2), [0, 1, 4])
    assert x.is_deleted()
