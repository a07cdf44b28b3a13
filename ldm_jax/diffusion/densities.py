"""How often training draws each timestep.

A density is any function of a `Schedule` that gives one number a timestep, none of them negative;
`probabilities` divides them by their sum. Those below are continuous densities, over u = t / T
(0 clean, 1 noise) or over log SNR, integrated exactly over the part of the axis that each timestep stands
for. So the effective density of training, weight times probability, is known and not estimated:
the objective does not change when a factor moves from the one to the other.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int, Key
from scipy.special import logit, ndtr

from ldm_jax.diffusion import tables
from ldm_jax.diffusion.schedules import Schedule

PerTimestep = Float64[np.ndarray, " timesteps"]
Density = Callable[[Schedule], PerTimestep]


def _over_time(schedule: Schedule, cdf: Callable[[Any], Any]) -> PerTimestep:
    """P(t / T <= u < (t + 1) / T), as where t = floor(u T)."""
    return np.diff(cdf(np.linspace(0, 1, schedule.train_steps + 1)))


def log_snr_cells(schedule: Schedule) -> Float64[np.ndarray, " edges"]:
    """Ends of the part of the log-SNR axis that each timestep stands for, T + 1 of them, falling.

    Neighbours meet half-way, and the first and last reach as far out as in; the rest of the axis is
    not on the schedule. A timestep of pure noise (or none) stands for all beyond its neighbour's part.

    Raises:
        ValueError: fewer than two timesteps of finite log SNR.
    """
    levels = schedule.log_snr[np.isfinite(schedule.log_snr)]
    if len(levels) < 2:
        raise ValueError(
            "A density over log SNR needs a schedule with at least two timesteps of finite log SNR, "
            f"but this one has {len(levels)}."
        )
    inner = (levels[1:] + levels[:-1]) / 2
    clean, noise = np.isposinf(schedule.log_snr).sum(), np.isneginf(schedule.log_snr).sum()
    return np.concatenate(
        [
            np.full(clean, np.inf),
            [2 * levels[0] - inner[0]],
            inner,
            [2 * levels[-1] - inner[-1]],
            np.full(noise, -np.inf),
        ]
    )


def _over_log_snr(schedule: Schedule, cdf: Callable[[Any], Any]) -> PerTimestep:
    return -np.diff(cdf(log_snr_cells(schedule)))


def uniform(schedule: Schedule) -> PerTimestep:
    """The same for all timesteps, as DDPM and AudioLDM 2 are trained."""
    return np.ones(schedule.train_steps)


def logit_normal(schedule: Schedule, *, mean: float = 0.0, std: float = 1.0) -> PerTimestep:
    """log(u / (1 - u)) is normal: Stable Diffusion 3's (Esser et al., arXiv:2403.03206).

    A mean above 0 leans to noise, as in the paper. (diffusers' training scripts count u from the noisy end.)
    """
    _positive(std, "std", "logit_normal")
    with np.errstate(divide="ignore"):
        return _over_time(schedule, lambda u: ndtr((logit(u) - mean) / std))


def shifted(schedule: Schedule, *, shift: float = 3.0) -> PerTimestep:
    """Stable Diffusion 3's shift of the timesteps: u = s u' / (1 + (s - 1) u') of a uniform u'.

    `shift` above 1 leans to noise; 1 is `uniform`. A logit-normal density is shifted by log(shift) in its mean.
    """
    _positive(shift, "shift", "shifted")
    return _over_time(schedule, lambda u: u / (shift + (1 - shift) * u))


def edm(schedule: Schedule, *, mean: float = -1.2, std: float = 1.2) -> PerTimestep:
    """log(sigma / alpha) is normal, so log SNR is, about -2 mean with 2 std.

    Karras et al. (arXiv:2206.00364), table 1, for data of deviation 0.5; EDM2 (arXiv:2312.02696)
    has -0.4 and 1.0.
    """
    _positive(std, "std", "edm")
    return _over_log_snr(schedule, lambda x: ndtr((x / 2 + mean) / std))


def laplace(schedule: Schedule, *, mean: float = 0.0, width: float = 0.5) -> PerTimestep:
    """exp(-|log SNR - mean| / width) / (2 width): Hang et al. (arXiv:2407.03297)."""
    _positive(width, "width", "laplace")

    def cdf(log_snr: Any) -> Any:
        tail = np.exp(-np.abs(log_snr - mean) / width) / 2
        return np.where(log_snr < mean, tail, 1 - tail)

    return _over_log_snr(schedule, cdf)


def cosine(schedule: Schedule, *, mean: float = 0.0) -> PerTimestep:
    """sech((log SNR - mean) / 2) / (2 pi): what the cosine schedule draws, on any schedule.

    With `mean` it is the shifted cosine of simple diffusion (Hoogeboom et al., arXiv:2301.11093),
    mean = 2 log(d_reference / d).
    """
    return _over_log_snr(schedule, lambda x: 2 / np.pi * np.arctan(np.exp((x - mean) / 2)))


DENSITIES: dict[str, Callable[..., PerTimestep]] = {
    "uniform": uniform,
    "logit_normal": logit_normal,
    "shifted": shifted,
    "edm": edm,
    "laplace": laplace,
    "cosine": cosine,
}


def density(name: str, **options: float) -> Density:
    """The density of that name; the options are its function's, or in the name: "laplace:width=1".

    Raises:
        ValueError: no such density, an option that it does not have, or a value that it does not take.
    """
    made = tables.configured(DENSITIES, name, options, what="The density")
    made(Schedule(np.array([0.9, 0.5])))  # tells of bad values now rather than in the first step
    return made


def probabilities(density: Density, schedule: Schedule) -> PerTimestep:
    """The density's probability of each timestep.

    Raises:
        ValueError: the density does not give one finite number a timestep, gives a negative one, or
            gives only zeros.
    """
    amounts = np.asarray(density(schedule), np.float64)
    if amounts.shape != (schedule.train_steps,):
        raise ValueError(
            f"A density must give one number for each of {schedule.train_steps} timesteps, but gave "
            f"shape {amounts.shape}."
        )
    if not np.isfinite(amounts).all() or (amounts < 0).any() or not amounts.any():
        raise ValueError(
            "A density must give finite numbers that are not negative, and not only zeros; this one "
            f"gives {amounts.min():g} to {amounts.max():g}."
        )
    return amounts / amounts.sum()


def draw(
    key: Key[Array, ""], probabilities: PerTimestep, count: int, *, stratified: bool = False
) -> Int[Array, " count"]:
    """`count` timesteps of those probabilities.

    Args:
        key: random key.
        probabilities: of each timestep; from `probabilities`.
        count: how many, for all rows of a batch together.
        stratified: whether all come from one uniform number, (u + i / count) mod 1: each still has these
            probabilities, but the counts of any range of timesteps stay within 1 of their expectation, so
            that losses of successive batches differ less. Kingma et al. (arXiv:2107.00630).
    """
    cumulative = np.cumsum(probabilities)
    cumulative = jnp.asarray(cumulative / cumulative[-1], jnp.float32)
    u = places(key, count, stratified=stratified)
    # A timestep of probability 0 adds nothing to the sum and so is passed over.
    return jnp.searchsorted(cumulative, u, side="right").astype(jnp.int32)


def places(key: Key[Array, ""], count: int, *, stratified: bool = False) -> Float[Array, " count"]:
    """`count` uniform numbers in 0 .. 1; with `stratified` all from one, as of `draw`."""
    if not stratified:
        return jax.random.uniform(key, (count,))
    return (jax.random.uniform(key) + np.arange(count, dtype=np.float32) / np.float32(count)) % 1.0


def _positive(value: float, option: str, name: str) -> None:
    if not value > 0:
        raise ValueError(f"The density {name!r} takes a {option} above 0, but got {value:g}.")
