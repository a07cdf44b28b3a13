import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from ldm_jax.models.convolution_gradient import convolve_at_stride_1
from ldm_jax.parallel.mesh import data_mesh
from tests.golden import random_array, relative_error


def of_lax(x, kernel, padding, dilation):
    axes = "HW"[-len(dilation) :]
    names = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    ones = (1,) * len(dilation)
    return jax.lax.conv_general_dilated(
        x, kernel, ones, padding, rhs_dilation=dilation, dimension_numbers=names
    )


def gradients(convolution, x, kernel, weight, **settings):
    def loss(x, kernel):
        return (convolution(x, kernel, *settings.values()) * weight).sum()

    return jax.value_and_grad(loss, argnums=(0, 1))(x, kernel)


# Few features: a convolution; many: products, added up; many positions: the kernel's gradient is one product.
SHAPES = [((40, 6), 3), ((5, 2), 32), ((60,), 3), ((9,), 32), ((260, 4), 3), ((1030,), 32)]
CASES = [
    (space, features, low, high, step)
    for space, features in SHAPES
    for low, high in ((1, 1), (0, 2), (0, 0), (3, 0))
    for step in (1, 2)
    if min(space) + low + high > 2 * step  # else there is no output
]


@pytest.mark.parametrize(("space", "features", "low", "high", "step"), CASES)
def test_gradients_are_laxs(space, features, low, high, step):
    settings = {"padding": ((low, high),) * len(space), "dilation": (step,) * len(space)}
    x = random_array("x", (2, *space, features))
    kernel = random_array("k", (3,) * len(space) + (features, 5))
    with jax.enable_x64(True):
        shape = jax.eval_shape(functools.partial(of_lax, **settings), x, kernel).shape
        weight = random_array("w", shape)
        ours, theirs = (
            jax.jit(functools.partial(gradients, f, **settings))(x, kernel, weight)
            for f in (convolve_at_stride_1, of_lax)
        )
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert relative_error(a, b) < 1e-13


def test_gradients_in_float32():
    """Rounded no worse than XLA's."""
    settings = {"padding": ((1, 1), (1, 1)), "dilation": (1, 1)}
    x, kernel = random_array("x", (2, 32, 8, 64)), random_array("k", (3, 3, 64, 32))
    weight = random_array("w", (2, 32, 8, 32))
    with jax.enable_x64(True):
        exact = jax.jit(functools.partial(gradients, of_lax, **settings))(x, kernel, weight)
    single = [array.astype(np.float32) for array in (x, kernel, weight)]
    ours = jax.jit(functools.partial(gradients, convolve_at_stride_1, **settings))(*single)
    for a, b in zip(ours[1], exact[1], strict=True):
        assert a.dtype == np.float32
        assert relative_error(a, b) < 5e-7


def test_eight_devices_and_remat():
    settings = {"padding": ((1, 1), (1, 1)), "dilation": (1, 1)}
    x, kernel = random_array("x", (8, 12, 4, 6)), random_array("k", (3, 3, 6, 6))
    weight = random_array("w", (8, 12, 4, 6))

    def thrice(x, kernel, *settings):
        """Layers of the same kernel in a scan, their activations computed again."""
        layer = jax.remat(lambda x, _: (jnp.tanh(convolve_at_stride_1(x, kernel, *settings)), None))
        return jax.lax.scan(layer, x, None, length=3)[0]

    def of_lax_thrice(x, kernel, *settings):
        for _ in range(3):
            x = jnp.tanh(of_lax(x, kernel, *settings))
        return x

    mesh = data_mesh()
    with jax.enable_x64(True):
        theirs = jax.jit(functools.partial(gradients, of_lax_thrice, **settings))(x, kernel, weight)
        rows = NamedSharding(mesh, PartitionSpec("data"))
        x, weight = (jax.device_put(array, rows) for array in (x, weight))
        ours = jax.jit(functools.partial(gradients, thrice, **settings))(x, kernel, weight)
    assert len(ours[1][0].sharding.device_set) == 8
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert relative_error(a, b) < 1e-12
