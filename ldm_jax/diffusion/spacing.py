"""Which of the training timesteps a sampler visits, and at which noise levels.

Every rule returns timesteps in the order of sampling, noisiest first. They are the rules of table 2
in Lin et al. (arXiv:2305.08891) as diffusers rounds them, and the rule of the official AudioLDM 2
code.
"""

import numpy as np
from jaxtyping import Float64

from ldm_jax.diffusion import tables
from ldm_jax.diffusion.schedules import Schedule

Timesteps = Float64[np.ndarray, " calls"]


def leading(train_steps: int, steps: int, offset: int) -> Timesteps:
    """Timesteps offset + k floor(T / steps), k = steps - 1 .. 0: stops short of T - 1."""
    return offset + np.arange(steps, dtype=np.float64)[::-1] * (train_steps // steps)


def trailing(train_steps: int, steps: int, offset: int) -> Timesteps:
    """Timesteps round(T - k T / steps) - 1, k = 0 .. steps - 1: starts at T - 1; no offset."""
    # For some step counts (61, 103, ...) rounding makes `arange` one longer than `steps`. diffusers
    # then visits a timestep -1; we do not.
    return np.arange(train_steps, 0, -train_steps / steps)[:steps].round() - 1


def linspace(train_steps: int, steps: int, offset: int) -> Timesteps:
    """`steps` points from T - 1 to 0, both included, not rounded; no offset."""
    return np.linspace(0, train_steps - 1, steps)[::-1]


def official(train_steps: int, steps: int, offset: int) -> Timesteps:
    """Timesteps 1 + k c, 1 + k c < T, c = floor(T / steps): CompVis' and AudioLDM 2's; no offset.

    Where `steps` does not divide T there are more timesteps than `steps`: 31 for 30. Where the last
    would be T, outside the schedule, it is left out; the official code fails there (for 3, 9 or 27).
    """
    return 1.0 + np.arange(0, train_steps - 1, train_steps // steps)[::-1]


SPACINGS = {"leading": leading, "trailing": trailing, "linspace": linspace, "official": official}
# DPM-Solver counts the clean end as a point: one more is laid, and the last not visited.
COUNT_THE_END = ("leading", "linspace")


def timesteps(
    spacing: str,
    *,
    train_steps: int,
    steps: int,
    offset: int = 1,
    count_the_end: bool = False,
    whole: bool = True,
) -> Timesteps:
    """The timesteps of a sampling run, noisiest first.

    Args:
        spacing: "leading", "trailing", "linspace" or "official".
        train_steps: T.
        steps: how many are asked for.
        offset: added by "leading".
        count_the_end: whether "leading" and "linspace" lay one point more and leave out the
            cleanest.
        whole: whether timesteps are rounded to integers.

    Raises:
        ValueError: no such spacing; `steps` outside 1 .. T; or the rule would leave 0 .. T - 1 or
            stand still.
    """
    rule = tables.choose(SPACINGS, spacing, what="The timestep spacing")
    if not 1 <= steps <= train_steps:
        raise ValueError(f"The number of steps must be 1 to {train_steps}, but got {steps}.")
    spare = int(count_the_end and spacing in COUNT_THE_END)
    if steps + spare > train_steps:
        raise ValueError(
            f"Spacing {spacing!r} of this sampler allows at most {train_steps - 1} steps, "
            f"but got {steps}."
        )
    laid = rule(train_steps, steps + spare, offset)
    laid = laid[: len(laid) - spare]
    laid = laid.round() if whole else laid
    if laid.max() > train_steps - 1 or laid.min() < 0:
        raise ValueError(
            f"Spacing {spacing!r} with {steps} steps and offset {offset} visits "
            f"timesteps {laid.min():g} to {laid.max():g}, but the schedule has 0 to "
            f"{train_steps - 1}; ask for fewer steps or another spacing."
        )
    return laid


def karras(
    sigma_max: float, sigma_min: float, steps: int, *, rho: float = 7.0
) -> Float64[np.ndarray, " steps"]:
    """Levels sigma / alpha from `sigma_max` to `sigma_min`, equally spaced in sigma^(1 / rho).

    Karras et al. (arXiv:2206.00364), equation 5.
    """
    ends = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return (ends[0] + np.linspace(0, 1, steps) * (ends[1] - ends[0])) ** rho


def timestep_of(
    schedule: Schedule, edm_sigma: Float64[np.ndarray, "*levels"]
) -> Float64[np.ndarray, "*levels"]:
    """Fractional timestep of a sigma / alpha: its logarithm is linear between timesteps.

    Held inside 0 .. T - 1.
    """
    known = np.log(schedule.edm_sigma)
    return np.interp(np.log(edm_sigma), known, np.arange(schedule.train_steps, dtype=np.float64))


def edm_sigma_at(schedule: Schedule, t: Timesteps) -> Timesteps:
    """Noise level sigma / alpha at fractional timesteps, linear between timesteps."""
    return np.interp(t, np.arange(schedule.train_steps), schedule.edm_sigma)
