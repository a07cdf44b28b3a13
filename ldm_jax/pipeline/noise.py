"""Where sampling starts, and the keys of all noise after that: a clip's own, whatever is drawn beside it."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key

from ldm_jax.parallel import mesh as devices_mesh
from ldm_jax.pipeline import synthesis


def starting_noise(
    seeds: Sequence[int],
    *,
    candidates: int,
    shape: tuple[int, ...],
    mesh: Mesh,
    latents: Float[np.ndarray, "..."] | None = None,
) -> tuple[Float[Array, "rows ..."], Key[Array, " rows"]]:
    """Latents of unit variance and keys, a row a candidate of each clip, padded to a multiple of the devices.

    Args:
        seeds: one a clip.
        candidates: rows a clip; each has a key of its own.
        shape: of a clip's latents.
        mesh: over which rows are divided.
        latents: in place of what the keys give.

    Raises:
        ValueError: `latents` of another shape.
    """
    count = len(seeds) * candidates
    pad, rows = -count % mesh.size, devices_mesh.rows(mesh)
    keys = jnp.stack([_clip_key(seed, c) for seed in seeds for c in range(candidates)])
    keys = devices_mesh.place(jnp.concatenate([keys, jnp.repeat(keys[-1:], pad)]), rows)
    if latents is None:
        return synthesis.initial_noise(keys, shape=shape), keys
    latents = np.asarray(latents, np.float32)
    if latents.shape != (count, *shape):
        raise ValueError(
            f"latents should have shape {(count, *shape)} (clips, time, frequency, channel), "
            f"not {latents.shape}"
        )
    return devices_mesh.place(
        np.concatenate([latents, np.repeat(latents[-1:], pad, axis=0)]), rows
    ), keys


def _clip_key(seed: int, candidate: int) -> Array:
    return jax.random.fold_in(jax.random.key(seed), candidate)
