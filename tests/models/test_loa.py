"""Pooling to the language of audio, against loops."""

import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.models.loa import pool_loa
from tests.golden import random_array, relative_error


@pytest.mark.parametrize(("time_pool", "freq_pool"), [(8, 8), (1, 1), (2, 2), (16, 4), (64, 1)])
def test_pool_loa(time_pool, freq_pool):
    features = random_array("features", (2, 512, 3)).astype(np.float32)
    pooled = pool_loa(jnp.asarray(features), time_pool=time_pool, freq_pool=freq_pool)
    grid, want = features.reshape(2, 64, 8, 3), []
    for t in range(0, 64, time_pool):
        for f in range(0, 8, freq_pool):
            box = grid[:, t : t + time_pool, f : f + freq_pool].reshape(2, -1, 3)
            want.append((box.mean(axis=1, dtype=np.float64) + box.max(axis=1)) / 2)
    assert relative_error(pooled, np.stack(want, axis=1)) < 1e-6


def test_pooling_must_tile():
    features = jnp.zeros((1, 512, 2))
    with pytest.raises(ValueError, match="3 x 8 does not tile the 64 x 8 grid"):
        pool_loa(features, time_pool=3, freq_pool=8)
    with pytest.raises(ValueError, match="512 features do not lie on a grid of 32 x 8"):
        pool_loa(features, time_pool=1, freq_pool=1, grid=(32, 8))
