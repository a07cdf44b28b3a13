"""How far a student's x0 is from its target: one value a clip, in float32 or better.

Each is a mean over the latent, so clips of different lengths weigh alike.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from ldm_jax.diffusion import tables
from ldm_jax.diffusion.objective import squared_error

Distance = Callable[[Array, Array], Array]


def l1(
    output: Shaped[Array, "batch *latent"], target: Shaped[Array, "batch *latent"]
) -> Float[Array, " batch"]:
    """Mean |output - target|."""
    missed = _difference(output, target)
    return _mean(missed * jnp.sign(missed))  # the gradient of `abs` is 1 at 0


def pseudo_huber(
    output: Shaped[Array, "batch *latent"],
    target: Shaped[Array, "batch *latent"],
    *,
    c: float = 0.00054,
) -> Float[Array, " batch"]:
    """sqrt(m + c^2) - c with m the mean square of output - target: m / (2 c) where small, sqrt(m) where large.

    Improved consistency training (Song and Dhariwal, arXiv:2310.14189) has the sum over all d numbers of a
    sample in place of the mean, and 0.00054 sqrt(d) in place of c. That is sqrt(d) times this: with the mean, c
    is a size of error in one number, the same for clips of any length.

    Raises:
        ValueError: `c` not above 0, where the gradient of equal inputs would not exist.
    """
    square = squared_error(output, target)
    _check_corner(c)
    # The difference of two nearly equal numbers, without its cancellation.
    return square / (jnp.sqrt(square + c**2) + c)


def huber(
    output: Shaped[Array, "batch *latent"],
    target: Shaped[Array, "batch *latent"],
    *,
    c: float = 0.001,
) -> Float[Array, " batch"]:
    """Mean (sqrt((output - target)^2 + c^2) - c), a bound on what each number can pull.

    As latent consistency models (arXiv:2310.04378) are trained in diffusers, whose c this is. SoundCTM
    (arXiv:2405.18503) has it too, under iCT's name and with iCT's 0.00054 sqrt(d).

    Raises:
        ValueError: `c` not above 0.
    """
    square = jnp.square(_difference(output, target))
    _check_corner(c)
    return _mean(square / (jnp.sqrt(square + c**2) + c))


DISTANCES: dict[str, Callable[..., Array]] = {
    "squared": squared_error,
    "l1": l1,
    "pseudo_huber": pseudo_huber,
    "huber": huber,
}


def distance(name: str, **options: float) -> Distance:
    """The distance of that name; the options are its function's, or in the name: "pseudo_huber:c=0.03".

    Raises:
        ValueError: no such distance, an option that it does not have, or a value that it does not take.
    """
    made = tables.configured(DISTANCES, name, options, what="The distance")
    pair = [jax.ShapeDtypeStruct((1, 1), jnp.float32)] * 2
    jax.eval_shape(functools.partial(made), *pair)  # tells of bad values now
    return made


def _difference(output: Any, target: Any) -> Any:
    dtype = jnp.promote_types(jnp.promote_types(output.dtype, target.dtype), jnp.float32)
    return output.astype(dtype) - target.astype(dtype)


def _mean(values: Any) -> Any:
    return jnp.mean(values, axis=tuple(range(1, values.ndim)))


def _check_corner(c: float) -> None:
    if not c > 0:
        raise ValueError(f"c of a Huber distance must be above 0, but got {c:g}.")
