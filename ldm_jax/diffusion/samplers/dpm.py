"""Multistep exponential integrators over log-SNR: DPM-Solver++ (2M, and its SDE) and UniPC.

Between levels s and t, with lambda = log(alpha / sigma) and h = lambda_t - lambda_s, the solution
for a constant x0 is

    z_t = (sigma_t / sigma_s) z_s + alpha_t (1 - exp(-h)) x0

and second order replaces x0 by its extrapolation to the middle of the step from two predictions.
The last step, to clean data (h infinite), is of first order: z = x0.
"""

import math
from collections.abc import Iterator

import numpy as np

from ldm_jax.diffusion.samplers.grids import Grid, Level, Step
from ldm_jax.diffusion.samplers.symbolic import Call, Symbol, read, symbols


def decay(here: Level, there: Level) -> float:
    """exp(-h) = (sigma_t / alpha_t) / (sigma_s / alpha_s); 0 towards clean data."""
    return there.edm_sigma / here.edm_sigma


def log_snr_ratio(before: Level, step: Step) -> float:
    """The ratio r of the last step's length in lambda to this one's."""
    past = step.here.half_log_snr - before.half_log_snr
    return past / (step.there.half_log_snr - step.here.half_log_snr)


def midpoint(x0: Symbol, old_x0: Symbol, before: Level | None, step: Step) -> Symbol:
    """Extrapolates x0 to the middle of the step, x0 + (x0 - old_x0) / (2 r).

    `before` is the level at which old_x0 was predicted. In a first or a last step it is x0 itself.
    """
    if before is None or step.there.sigma == 0:
        return x0
    return x0 + (x0 - old_x0) / (2 * log_snr_ratio(before, step))


def dpm_calls(grid: Grid, *, prediction: str, stochastic: bool) -> Iterator[Call]:
    """DPM-Solver++ (Lu et al., arXiv:2211.01095): 2M, or its SDE if `stochastic`.

    The carry holds z and the last x0. The stochastic step is

        z_t = (sigma_t / sigma_s) e^{-h} z + alpha_t (1 - e^{-2h}) x0
              + sigma_t sqrt(1 - e^{-2h}) noise
    """
    x, old_x0, output, noise = symbols(memory=1)
    before = None
    for step in grid.steps:
        timestep, here, there = step
        x0, _ = read(prediction, output, x, here)
        e = decay(here, there)
        target = midpoint(x0, old_x0, before, step)
        if stochastic:
            moved = there.sigma / here.sigma * e * x + there.alpha * (1 - e**2) * target
            moved = moved + there.sigma * math.sqrt(1 - e**2) * noise
        else:
            moved = there.sigma / here.sigma * x + there.alpha * (1 - e) * target
        yield timestep, [moved, x0]
        before = here


def corrector_weights(r: float, h: float) -> tuple[float, float]:
    """UniC-2's weights (rho_1, rho_2) of the old and the new difference, for B(h) = exp(-h) - 1.

    They solve rho_1 (-r)^{k-1} + rho_2 = k! (-h) phi_{k+1}(-h) / B(h) for k = 1, 2, with phi_1(z) =
    (e^z - 1) / z and phi_{k+1}(z) = (phi_k(z) - 1 / k!) / z.
    """
    phi_2 = math.expm1(-h) / -h - 1  # (-h) phi_2(-h)
    phi_3 = phi_2 / -h - 0.5  # (-h) phi_3(-h)
    b = np.array([phi_2, 2 * phi_3]) / math.expm1(-h)
    first, second = np.linalg.solve(np.array([[1.0, 1.0], [-r, 1.0]]), b)
    return float(first), float(second)


def unipc_calls(grid: Grid, *, prediction: str) -> Iterator[Call]:
    """UniPC-2 with B_2(h) (Zhao et al., arXiv:2302.04867).

    Each prediction first corrects the step that led to it, then takes the next. The predictor
    UniP-2 is DPM-Solver++(2M). The carry holds z, the corrected z the last step started from, and
    the last two predictions of x0.
    """
    x, start, old_x0, older_x0, output, _ = symbols(memory=3)
    before: Step | None = None
    earlier: Step | None = None
    for step in grid.steps:
        timestep, here, there = step
        x0, _ = read(prediction, output, x, here)  # of the uncorrected latents: no second call
        corrected = x
        if before is not None:
            gain = 1 - decay(before.here, here)
            if earlier is None:
                target = old_x0 + 0.5 * (x0 - old_x0)
            else:
                h = here.half_log_snr - before.here.half_log_snr
                r = log_snr_ratio(earlier.here, before)
                rho_1, rho_2 = corrector_weights(r, h)
                target = old_x0 + rho_1 * (old_x0 - older_x0) / r + rho_2 * (x0 - old_x0)
            corrected = here.sigma / before.here.sigma * start + here.alpha * gain * target
        target = midpoint(x0, old_x0, None if before is None else before.here, step)
        moved = there.sigma / here.sigma * corrected
        moved = moved + there.alpha * (1 - decay(here, there)) * target
        yield timestep, [moved, corrected, x0, old_x0]
        before, earlier = step, before
