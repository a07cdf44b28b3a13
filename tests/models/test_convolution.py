import functools
import itertools

import jax
import numpy as np
import pytest

from ldm_jax.models import convolution
from ldm_jax.models.convolution import convolve, fewer_products, short_filter
from tests.golden import random_array, relative_error


def direct(x, kernel, padding, dilation):
    """sum over taps of shifted inputs times the kernel's matrix there."""
    x = np.pad(x, [(0, 0), *padding, (0, 0)])
    window = kernel.shape[:-2]
    shape = [n - (k - 1) * d for n, k, d in zip(x.shape[1:-1], window, dilation, strict=True)]
    total = 0.0
    for taps in itertools.product(*(range(k) for k in window)):
        slices = [slice(i * d, i * d + n) for i, d, n in zip(taps, dilation, shape, strict=True)]
        total = total + x[(slice(None), *slices)] @ kernel[taps]
    return total


@pytest.mark.parametrize("taps", [3, 4])
def test_short_filters_are_correlations(taps):
    to_outputs, to_products, from_inputs = short_filter(4, taps)
    d, g = random_array("d", (3 + taps,)), random_array("g", (taps,))
    ours = to_outputs @ ((to_products @ g) * (from_inputs @ d))
    np.testing.assert_allclose(ours, np.correlate(d, g, "valid"), rtol=1e-12)


@pytest.mark.parametrize("taps", [3, 4, 11])
@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize(("time", "padding"), [(40, "same"), (33, (2, 11))])
def test_fewer_products_one_axis(taps, dilation, time, padding):
    reach = (taps - 1) * dilation
    padding = (reach // 2, reach // 2) if padding == "same" else padding
    x, kernel = random_array("x", (2, time, 3)), random_array("k", (taps, 3, 5))
    with jax.enable_x64(True):
        ours = jax.jit(lambda x, k: fewer_products(x, k, padding=(padding,), dilation=(dilation,)))(
            x, kernel
        )
    assert relative_error(ours, direct(x, kernel, (padding,), (dilation,))) < 1e-12


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (7, 1)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 2)])
@pytest.mark.parametrize("as_rows", [0, 1000])
def test_fewer_products_two_axes(monkeypatch, shape, dilation, as_rows):
    monkeypatch.setattr(convolution, "_MAX_PRODUCTS_AS_ROWS", as_rows)
    x, kernel = random_array("x", (2, 20, 6, 3)), random_array("k", (*shape, 3, 5))
    padding = ((1, 1), (0, 1))
    with jax.enable_x64(True):
        ours = jax.jit(lambda x, k: fewer_products(x, k, padding=padding, dilation=dilation))(
            x, kernel
        )
    assert relative_error(ours, direct(x, kernel, padding, dilation)) < 1e-12


@pytest.fixture
def chosen(monkeypatch):
    """How often `fewer_products` was chosen."""
    calls = []

    def spy(*args, **kwargs):
        calls.append(args)
        return fewer_products(*args, **kwargs)

    monkeypatch.setattr(convolution, "fewer_products", spy)
    return calls


@pytest.mark.parametrize(
    ("dtype", "features", "strides", "padding", "fast"),
    [
        ("float32", 128, (1, 1), "SAME", True),
        ("float32", 128, (1, 1), "VALID", True),
        ("float32", 128, (1, 1), ((0, 1), (2, 0)), True),
        ("bfloat16", 128, (1, 1), "SAME", False),
        ("float32", 64, (1, 1), "SAME", False),
        ("float32", 128, (2, 2), "SAME", False),
    ],
)
def test_convolve_is_laxs(chosen, dtype, features, strides, padding, fast):
    """Also its rounding: about 1e-6, where the direct one has 3e-7."""
    x = random_array("x", (2, 64, 16, features)).astype(dtype)
    kernel = random_array("k", (3, 3, features, 32)).astype(dtype)
    ours = jax.jit(lambda x, k: convolve(x, k, strides, padding))(x, kernel)
    assert len(chosen) == fast
    assert ours.dtype == dtype
    with jax.enable_x64(True):
        exact = jax.lax.conv_general_dilated(
            *(np.asarray(x, np.float64), np.asarray(kernel, np.float64), strides, padding),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
    assert relative_error(ours, exact) < (4e-3 if dtype == "bfloat16" else 3e-6)


def test_gradients_are_laxs(chosen):
    x = random_array("x", (1, 2048, 40))
    kernel, weight = random_array("k", (25, 40, 32)), random_array("w", (1, 2048, 32))
    options = {"rhs_dilation": (2,), "dimension_numbers": ("NHC", "HIO", "NHC")}

    def loss(convolution, x, kernel):
        return (convolution(x, kernel, (1,), "SAME", **options) * weight).sum()

    with jax.enable_x64(True):
        ours, theirs = (
            jax.jit(jax.grad(lambda x, k, f=f: loss(f, x, k), argnums=(0, 1)))(x, kernel)
            for f in (convolve, jax.lax.conv_general_dilated)
        )
    assert chosen
    for a, b in zip(ours, theirs, strict=True):
        assert relative_error(a, b) < 1e-11


@pytest.mark.parametrize(("time", "apart"), [(2048, True), (64, False)])
def test_groups_are_laxs(time, apart):
    x = random_array("x", (2, time, 64))
    kernel, weight = random_array("k", (41, 16, 128)), random_array("w", (2, time // 2, 128))

    def loss(convolution, x, kernel, **options):
        out = convolution(x, kernel, (2,), [(20, 20)], feature_group_count=4, **options)
        return (out * weight).sum()

    names = {"dimension_numbers": ("NHC", "HIO", "NHC")}
    with jax.enable_x64(True):
        gradient = jax.grad(functools.partial(loss, convolve), argnums=(0, 1))
        ours = jax.jit(gradient)(x, kernel)
        of_lax = functools.partial(loss, jax.lax.conv_general_dilated, **names)
        theirs = jax.jit(jax.grad(of_lax, argnums=(0, 1)))(x, kernel)
        assert ("feature_group_count=4" not in str(jax.make_jaxpr(gradient)(x, kernel))) == apart
    for a, b in zip(ours, theirs, strict=True):
        assert relative_error(a, b) < 1e-12
