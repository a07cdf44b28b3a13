"""Writing a sampler as its paper does, and getting its table of coefficients.

A call's result is a linear combination of the latents, the remembered arrays, the network's output
and noise. Standing for each of these by a unit vector, ordinary arithmetic on the vectors yields
the coefficients of the combination:

    x, output, noise = symbols(memory=0)
    x0 = (x - sigma * output) / alpha          # the vector (1 / alpha, -sigma / alpha, 0)
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float64

from ldm_jax.diffusion import parameterization, tables
from ldm_jax.diffusion.samplers.grids import Level
from ldm_jax.diffusion.sampling import Plan

Symbol = Float64[np.ndarray, " symbols"]
# The network's timestep, and the next value of each slot of the carry.
Call = tuple[float, list[Symbol]]


def symbols(*, memory: int) -> list[Symbol]:
    """[latents, `memory` remembered arrays, network output, noise] as unit vectors."""
    return list(np.eye(memory + 3))


def read(prediction: str, output: Symbol, x: Symbol, level: Level) -> tuple[Symbol, Symbol]:
    """The (x0, eps) that an output of kind `prediction` means for latents `x` at a noise level."""
    to_x0 = tables.choose(parameterization.TO_X0, prediction, what="The prediction")
    to_eps = parameterization.TO_EPS[prediction]
    return to_x0(output, x, *level), to_eps(output, x, *level)


def tabulate(calls: Iterable[Call], *, init_noise_sigma: float) -> Plan:
    """The plan of these calls; stochastic if any of them has a part in the noise.

    Raises:
        ValueError: a coefficient is infinite: the prediction says nothing about x0 or eps at some
            level.
    """
    with np.errstate(all="ignore"):
        listed = list(calls)
    for timestep, rows in listed:
        if not np.isfinite(rows).all():
            raise ValueError(
                f"At timestep {timestep:g} this prediction does not determine the step (eps at "
                "zero signal, x0 at zero noise); predict v, or choose a spacing that leaves it out."
            )
    transition = np.array([rows for _, rows in listed])
    stochastic = bool(transition[:, :, -1].any())
    return Plan(
        index=np.arange(1, len(listed) + 1, dtype=np.int32),
        timesteps=np.array([timestep for timestep, _ in listed], np.float64),
        transition=transition if stochastic else transition[:, :, :-1],
        init_noise_sigma=np.float64(init_noise_sigma),
        stochastic=stochastic,
    )
