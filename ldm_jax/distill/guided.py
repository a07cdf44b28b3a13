"""Guided distillation: one call of a student, told the scale, in place of guidance's two.

Meng et al. (arXiv:2210.03142), stage 1:

    E[w(t) |student(z_t, t, scale, c) - (u + scale (c - u))|^2],   scale ~ U(lowest, highest)

with u and c the teacher's unconditional and conditional prediction at z_t.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from ldm_jax.diffusion.guidance import classifier_free
from ldm_jax.diffusion.parameterization import PerClip, convert
from ldm_jax.distill.grid import Level, Network


def meng_to_ours(scale: PerClip) -> PerClip:
    """The scale w = w' + 1 of Meng et al.'s w', for guidance written c + w' (c - u); LCM writes so too.

    Ours is u + w (c - u), as in Imagen, TANGO and ConsistencyTTA: w = 1 is the conditional model.
    """
    return scale + 1


def ours_to_meng(scale: PerClip) -> PerClip:
    """Meng et al.'s w' = w - 1; see `meng_to_ours`."""
    return scale - 1


def double(
    branches: Callable[[Array, Array], Shaped[Array, "rows *latent"]],
    scale: PerClip,
    *,
    repeat: bool = True,
) -> Network:
    """The guided network u + w (c - u), of one call on a doubled batch.

    Args:
        branches: (z, timesteps) to raw outputs in rows u0 c0 u1 c1 ..., so that both branches of a clip
            stay on its device.
        scale: w, for all clips or one a clip; 1 is the conditional prediction, to rounding.
        repeat: whether `branches` is handed every row of z and of the timesteps twice. Not, where it doubles
            the rows itself, as the UNet does when its contexts are doubled.
    """

    def network(z: Array, timesteps: Array) -> Array:
        if repeat:
            z, timesteps = jnp.repeat(z, 2, axis=0), jnp.repeat(timesteps, 2, axis=0)
        output = branches(z, timesteps)
        return classifier_free(output[0::2], output[1::2], scale)

    return network


def guided_target(
    teacher_output: Float[Array, "batch *latent"],
    z: Float[Array, "batch *latent"],
    level: Level,
    *,
    source: str,
    target: str,
) -> Float[Array, "batch *latent"]:
    """The teacher's guided output at z as the kind of prediction that the student makes.

    Args:
        teacher_output: of a network from `double`.
        z: the latents that it and the student read.
        level: of `z`.
        source: what the teacher predicts, "eps", "x0" or "v".
        target: what the student does.

    Raises:
        ValueError: no such kind of prediction.
    """
    return convert(
        teacher_output, z, source=source, target=target, alpha=level.alpha, sigma=level.sigma
    )
