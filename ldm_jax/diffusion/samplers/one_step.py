"""Samplers that remember nothing: DDIM, and with it Euler and Euler ancestral."""

import math
from collections.abc import Iterator

from ldm_jax.diffusion.samplers.grids import Grid
from ldm_jax.diffusion.samplers.symbolic import Call, read, symbols


def ddim_calls(grid: Grid, *, prediction: str, eta: float = 0.0) -> Iterator[Call]:
    """DDIM (Song et al., arXiv:2010.02502, equations 12 and 16), between levels.

        z' = alpha' x0 + sqrt(sigma'^2 - s^2) eps + s noise
        s  = eta (sigma' / sigma) sqrt(1 - alpha^2 / alpha'^2)

    with (alpha, sigma) the level here and (alpha', sigma') the next.

    eta = 0 is Euler's method for the probability flow of z / alpha over sigma / alpha (Karras et
    al., arXiv:2206.00364); eta = 1 is ancestral sampling. So Euler and Euler ancestral are this on
    another grid.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in 0 to 1, but got {eta}.")
    x, output, noise = symbols(memory=0)
    for timestep, here, there in grid.steps:
        x0, eps = read(prediction, output, x, here)
        s = eta * there.sigma / here.sigma * math.sqrt(1 - (here.alpha / there.alpha) ** 2)
        direction = math.sqrt(there.sigma**2 - s**2) * eps
        yield timestep, [there.alpha * x0 + direction + s * noise]
