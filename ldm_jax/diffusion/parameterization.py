"""What a network predicts: eps, x0 or v, and how each is turned into the others.

    z = alpha x0 + sigma eps        v = alpha eps - sigma x0        alpha^2 + sigma^2 = 1

The functions in the tables are plain arithmetic `f(prediction, z, alpha, sigma)`: they work on JAX
arrays, on NumPy arrays, and on the symbolic vectors from which the samplers build their
coefficients.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from ldm_jax.diffusion import tables

Scalar = int | float | np.floating | Float[Array | np.ndarray, ""]
PerClip = Scalar | Float[Array | np.ndarray, " batch"]


def _same(prediction: Any, z: Any, alpha: Any, sigma: Any) -> Any:
    return prediction


def _x0_from_eps(eps: Any, z: Any, alpha: Any, sigma: Any) -> Any:
    return (z - sigma * eps) / alpha


def _x0_from_v(v: Any, z: Any, alpha: Any, sigma: Any) -> Any:
    return alpha * z - sigma * v


def _eps_from_x0(x0: Any, z: Any, alpha: Any, sigma: Any) -> Any:
    return (z - alpha * x0) / sigma


def _eps_from_v(v: Any, z: Any, alpha: Any, sigma: Any) -> Any:
    return sigma * z + alpha * v


def _v_from_eps(eps: Any, z: Any, alpha: Any, sigma: Any) -> Any:
    return (eps - sigma * z) / alpha


def _v_from_x0(x0: Any, z: Any, alpha: Any, sigma: Any) -> Any:
    return (alpha * z - x0) / sigma


TO_X0 = {"eps": _x0_from_eps, "x0": _same, "v": _x0_from_v}
TO_EPS = {"eps": _same, "x0": _eps_from_x0, "v": _eps_from_v}
TO_V = {"eps": _v_from_eps, "x0": _v_from_x0, "v": _same}
CONVERSIONS = {"eps": TO_EPS, "x0": TO_X0, "v": TO_V}


def per_clip(values: PerClip, latents: Shaped[Array, "batch *latent"]) -> Shaped[Array, "..."]:
    """One value a clip, or one for all, in a shape that multiplies `latents` without promotion."""
    values = jnp.asarray(values)
    return values.reshape(values.shape + (1,) * (latents.ndim - values.ndim))


def convert(
    prediction: Shaped[Array, "batch *latent"],
    latents: Shaped[Array, "batch *latent"],
    *,
    source: str,
    target: str,
    alpha: PerClip,
    sigma: PerClip,
) -> Shaped[Array, "batch *latent"]:
    """Turns a `source` prediction at z = `latents` into a `target`; each is "eps", "x0" or "v".

    Args:
        prediction: the network's output.
        latents: z, the network's input.
        source: what `prediction` is.
        target: what is wanted.
        alpha: scale of the signal in `latents`, a scalar or one a clip.
        sigma: scale of the noise, likewise. A conversion that is singular at a level (x0 from eps
            at alpha = 0, eps from x0 at sigma = 0) gives infinities there.

    Raises:
        ValueError: `source` or `target` is no kind of prediction.
    """
    function = tables.choose(
        tables.choose(CONVERSIONS, target, what="The target prediction"),
        source,
        what="The source prediction",
    )
    return function(prediction, latents, per_clip(alpha, latents), per_clip(sigma, latents))


def add_noise(
    x0: Shaped[Array, "batch *latent"],
    eps: Shaped[Array, "batch *latent"],
    *,
    alpha: PerClip,
    sigma: PerClip,
) -> Shaped[Array, "batch *latent"]:
    """The noisy latents z = alpha x0 + sigma eps, with alpha and sigma scalars or one a clip."""
    return per_clip(alpha, x0) * x0 + per_clip(sigma, x0) * eps
