"""Bands of log SNR: where they end, and that shares add up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.diffusion import bands


@pytest.mark.parametrize("library", [np, jnp])
def test_band_of(library):
    """The lower end belongs to a band, the upper to the next; both infinities have one."""
    levels = library.asarray([-np.inf, -6.5, -6, -5.9, 0, 3.99, 4, 20, np.inf], library.float32)
    ours = jax.jit(bands.band_of)(levels) if library is jnp else bands.band_of(levels)
    np.testing.assert_array_equal(ours, [0, 0, 1, 1, 4, 5, 6, 6, 6])


def test_labels():
    assert bands.labels((-1.5, 0.0, 2.0)) == ("below -1.5", "-1.5 to 0", "0 to 2", "2 up")
    assert bands.labels((1,)) == ("below 1", "1 up")
    assert bands.labels(()) == ("all",)
    assert len(bands.labels()) == len(bands.EDGES) + 1


def test_shares():
    ours = bands.shares(np.array([1.0, 2, 3, 4]), np.array([-9.0, -2, -1.5, 3]), (-2.0, 0.0, 2.0))
    np.testing.assert_allclose(ours, [0.1, 0.5, 0, 0.4])
    np.testing.assert_array_equal(bands.shares(np.ones(2), np.zeros(2), ()), [1])


@pytest.mark.parametrize("edges", [(0.0, 0.0), (1.0, 0.0), (0.0, np.nan), (-np.inf, 0.0)])
def test_bad_edges(edges):
    with pytest.raises(ValueError, match="must be finite and rise, but got"):
        bands.check_edges(edges)
