"""Language of audio (LOA): AudioMAE's features pooled to the tokens that condition AudioLDM 2."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from ldm_jax.models.layers import upcast

GRID = (64, 8)  # patches of 10.24 s in time and in frequency


def pool_loa(
    features: Shaped[Array, "batch patches c"],
    *,
    time_pool: int,
    freq_pool: int,
    grid: tuple[int, int] = GRID,
) -> Float[Array, "batch tokens c"]:
    """(mean + max) / 2 over rectangles of patches; of the tokens, frequency runs fastest.

    AudioLDM 2 (Liu et al., arXiv 2308.05734) pools 8 x 8 for sound and music, which leaves 8 tokens
    of 1.28 s, and 1 x 1 for speech. Its self-supervised pretraining draws time_pool from 1, 2, 4, 8
    and takes freq_pool = min(8, time_pool).

    Args:
        features: `AudioMAE.features`.
        time_pool: patches in time that one token spans.
        freq_pool: the same in frequency.
        grid: patches of `features` in time and in frequency.

    Raises:
        ValueError: the grid is not that of the features, or the rectangles do not tile it.
    """
    batch, patches, c = features.shape
    (rows, columns) = grid
    if rows * columns != patches:
        raise ValueError(f"{patches} features do not lie on a grid of {rows} x {columns}")
    if rows % time_pool or columns % freq_pool:
        raise ValueError(
            f"pooling {time_pool} x {freq_pool} does not tile the {rows} x {columns} grid"
        )
    x = features.reshape(batch, rows // time_pool, time_pool, columns // freq_pool, freq_pool, c)
    pooled = (upcast(x).mean(axis=(2, 4)) + upcast(x).max(axis=(2, 4))) / 2
    return jnp.asarray(pooled, features.dtype).reshape(batch, -1, c)
