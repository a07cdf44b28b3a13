"""Heun's method and linear multistep for the probability flow of z / alpha over sigma / alpha.

    d (z / alpha) / d (sigma / alpha) = eps

Karras et al. (arXiv:2206.00364), in the form of k-diffusion. What is remembered of past calls is
eps.
"""

from collections.abc import Iterator

import numpy as np

from ldm_jax.diffusion.samplers.grids import Grid
from ldm_jax.diffusion.samplers.symbolic import Call, read, symbols

# Two-point Gauss-Legendre nodes on [-1, 1]: with equal weights they integrate cubics exactly.
GAUSS_NODES = (-(3**-0.5), 3**-0.5)
LMS_ORDER = 4


def heun_calls(grid: Grid, *, prediction: str) -> Iterator[Call]:
    """Heun's method: an Euler step, then the step again with the mean of the slopes at its ends.

    Two calls a step, but one in the last, which ends at clean data: 2 steps - 1 in all. The carry
    holds z, the z and the eps that the step started from.
    """
    x, start, start_eps, output, _ = symbols(memory=2)
    for step, following in zip(grid.steps, [*grid.steps[1:], None], strict=True):
        timestep, here, there = step
        length = there.edm_sigma - here.edm_sigma
        _, eps = read(prediction, output, x, here)
        yield timestep, [there.alpha * (x / here.alpha + length * eps), x, eps]
        if following is None:
            return
        _, eps = read(prediction, output, x, there)
        slope = (start_eps + eps) / 2
        moved = there.alpha * (start / here.alpha + length * slope)
        yield following.timestep, [moved, start, start_eps]


def lagrange_integral(nodes: list[float], j: int, start: float, stop: float) -> float:
    """Integral over s of prod_{k != j} (s - nodes[k]) / (nodes[j] - nodes[k]), up to four nodes."""
    others = np.array([node for k, node in enumerate(nodes) if k != j])
    half, middle = (stop - start) / 2, (stop + start) / 2
    points = [middle + half * node for node in GAUSS_NODES]
    return half * sum(float(np.prod((point - others) / (nodes[j] - others))) for point in points)


def lms_calls(grid: Grid, *, prediction: str) -> Iterator[Call]:
    """Adams-Bashforth over unequal steps: integrates the polynomial through the last four eps.

    There are fewer at the start. The carry holds z and the last three eps.
    """
    x, *past, output, _ = symbols(memory=LMS_ORDER - 1)
    visited: list[float] = []
    for timestep, here, there in grid.steps:
        _, eps = read(prediction, output, x, here)
        visited = [here.edm_sigma, *visited][:LMS_ORDER]
        known = [eps, *past]
        change = sum(
            lagrange_integral(visited, j, here.edm_sigma, there.edm_sigma) * known[j]
            for j in range(len(visited))
        )
        yield timestep, [there.alpha * (x / here.alpha + change), *known[:-1]]
