"""Classifier-free guidance (Ho and Salimans, arXiv:2207.12598)."""

import jax.numpy as jnp
from jaxtyping import Array, Shaped

from ldm_jax.diffusion.parameterization import PerClip, per_clip


def classifier_free(
    unconditional: Shaped[Array, "batch *latent"],
    conditional: Shaped[Array, "batch *latent"],
    scale: PerClip,
) -> Shaped[Array, "batch *latent"]:
    """Guided prediction u + w (c - u): w = 0 is unconditional, w = 1 conditional.

    It may be applied to eps, to x0 or to v with the same result, because the conversions are affine
    in the prediction. Meng et al. (arXiv:2210.03142) write c + w' (c - u), with w' = w - 1.

    Half-precision predictions are combined, and returned, in float32: w multiplies their rounding
    errors.

    Args:
        unconditional: prediction under the empty condition.
        conditional: prediction under the clip's own condition.
        scale: w, for all clips or one a clip.
    """
    dtype = jnp.promote_types(conditional.dtype, jnp.float32)
    unconditional, conditional = unconditional.astype(dtype), conditional.astype(dtype)
    w = per_clip(scale, conditional).astype(dtype)
    return unconditional + w * (conditional - unconditional)


def rescale(
    guided: Shaped[Array, "batch *latent"],
    conditional: Shaped[Array, "batch *latent"],
    strength: PerClip,
) -> Shaped[Array, "batch *latent"]:
    """Undoes guidance's gain in contrast: phi g std(c) / std(g) + (1 - phi) g, deviations a clip.

    Lin et al. (arXiv:2305.08891), section 3.4.

    Args:
        guided: g, the output of `classifier_free`.
        conditional: c.
        strength: phi in [0, 1], for all clips or one a clip; 0 leaves `guided` as it is, the paper
            suggests 0.7.
    """
    axes = tuple(range(1, guided.ndim))
    conditional = conditional.astype(guided.dtype)
    ratio = jnp.std(conditional, axes, keepdims=True) / jnp.std(guided, axes, keepdims=True)
    phi = per_clip(strength, guided).astype(guided.dtype)
    return guided * (phi * ratio + (1 - phi))
