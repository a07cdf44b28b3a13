"""The terms of the VAE's loss, as `LPIPSWithDiscriminator` of AudioLDM's training code puts them together.

(github.com/haoheliu/AudioLDM-training-finetuning, `audioldm_train/losses/contperceptual.py`, after Esser et al., arXiv
2012.09841.)
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

MOST_ADAPTED = 1e4  # the largest adaptive weight, before the constant one
_EPSILON = 1e-4

# Of each cell, by name: mel and reconstruction to distances.
CELL_LOSSES: dict[str, Callable[[Array, Array], Array]] = {
    "l1": lambda x, y: jnp.abs(x - y),
    "l2": lambda x, y: jnp.square(x - y),
}


def gaussian_kl(
    mean: Float[Array, "batch t f z"], logvar: Float[Array, "batch t f z"]
) -> Float[Array, " batch"]:
    """KL(N(mean, exp(logvar)) || N(0, 1)) a number, 1/2 mean (mean^2 + exp(logvar) - 1 - logvar).

    The mean over a clip's latents, where the latent diffusion of pictures takes the sum.
    """
    return 0.5 * (jnp.square(mean) + jnp.exp(logvar) - 1.0 - logvar).mean((1, 2, 3))


def negative_log_likelihood(
    distances: Float[Array, "batch time freq c"],
    perceptual: Float[Array, " batch"],
    *,
    logvar: float,
) -> Float[Array, ""]:
    """1 / rows of the sum over all cells of (distance + perceptual) exp(-logvar) + logvar.

    A clip's perceptual distance counts once a cell, as it does where the published code broadcasts it.

    Args:
        distances: of each cell.
        perceptual: of each clip, weighted.
        logvar: of the reconstruction. Published is 0, to which the parameter of that name stays: no optimiser has it.
    """
    cells = distances.sum((1, 2, 3)) + math.prod(distances.shape[1:]) * perceptual
    return cells.mean() * math.exp(-logvar) + logvar * math.prod(distances.shape[1:])


def adaptive_weight(
    likelihood_gradient: Float[Array, "..."], score_gradient: Float[Array, "..."]
) -> Float[Array, ""]:
    """clip(|likelihood_gradient| / (|score_gradient| + 1e-4), 0, 1e4), without a gradient of its own.

    Both are gradients with respect to the decoder's last kernel: so the discriminator's pull becomes as strong there as
    that of the reconstruction (Esser et al., equation 7).
    """
    length, other = (jnp.linalg.norm(x) for x in (likelihood_gradient, score_gradient))
    weight = jnp.clip(length / (other + _EPSILON), 0.0, MOST_ADAPTED)
    return jax.lax.stop_gradient(weight)


def with_gradient(
    value: Float[Array, ""], x: Float[Array, "*shape"], gradient: Float[Array, "*shape"]
) -> Float[Array, ""]:
    """`value`, whose gradient with respect to `x` is `gradient`: one that is known is not computed twice."""
    gradient = jax.lax.stop_gradient(gradient)
    return jax.lax.stop_gradient(value) + ((x - jax.lax.stop_gradient(x)) * gradient).sum()
