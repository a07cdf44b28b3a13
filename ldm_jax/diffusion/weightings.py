"""Loss weightings over the signal-to-noise ratio, for training and distillation alike.

A weighting is any function w of log SNR = log(alpha^2 / sigma^2) that weighs the squared error of
x0. Errors of one and the same denoiser are proportional, whatever it predicts,

    |eps - eps'|^2 = SNR |x0 - x0'|^2        |v - v'|^2 = (SNR + 1) |x0 - x0'|^2

so each weighting is defined once, on x0, and `weight_for` converts it exactly: w / SNR on eps,
w / (SNR + 1) on v. The functions here take NumPy arrays (and stay in float64) or JAX arrays.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ldm_jax.diffusion import tables
from ldm_jax.diffusion.schedules import Schedule

Levels = Float[Array | np.ndarray, "*levels"]
Weighting = Callable[[Levels], Levels]


def _library(log_snr: Levels) -> Any:
    return jnp if isinstance(log_snr, jax.Array) else np


def _snr(log_snr: Levels) -> Any:
    return _library(log_snr).exp(log_snr)


def uniform(log_snr: Levels) -> Levels:
    """1: the mean squared error of x0; "constant" in Salimans and Ho's code."""
    return _library(log_snr).ones_like(log_snr)


def snr(log_snr: Levels) -> Levels:
    """SNR: the mean squared error of eps, as DDPM and AudioLDM 2 train (arXiv:2006.11239)."""
    return _snr(log_snr)


def snr_plus_one(log_snr: Levels) -> Levels:
    """SNR + 1: the mean squared error of v (Salimans and Ho, arXiv:2202.00512)."""
    return _snr(log_snr) + 1


def truncated(log_snr: Levels, *, floor: float = 1.0) -> Levels:
    """max(SNR, floor): Salimans and Ho's truncated SNR (floor 1); "max_snr" in the code of Min-SNR."""
    return _library(log_snr).maximum(_snr(log_snr), floor)


def min_snr(log_snr: Levels, *, gamma: float = 5.0) -> Levels:
    """min(SNR, gamma): Min-SNR (Hang et al., arXiv:2303.09556)."""
    return _library(log_snr).minimum(_snr(log_snr), gamma)


def soft_min_snr(log_snr: Levels, *, gamma: float = 5.0) -> Levels:
    """Min-SNR without its corner, gamma SNR / (SNR + gamma) (Crowson et al., arXiv:2401.11605).

    k-diffusion's "soft-min-snr" is gamma = 1 / sigma_data^2, which is 4 for its usual 0.5.
    """
    return 1 / (_snr(-log_snr) + 1 / _positive(gamma, "gamma of soft_min_snr"))


def sigmoid(log_snr: Levels, *, bias: float = 0.0) -> Levels:
    """The sigmoid of bias - log SNR on eps, so SNR times that (on x0).

    Kingma and Gao (arXiv:2303.00848), Hoogeboom et al. (arXiv:2410.19324). The same as
    `soft_min_snr` with gamma = exp(bias).
    """
    return 1 / (_snr(-log_snr) + np.exp(-bias))


def p2(log_snr: Levels, *, k: float = 1.0, gamma: float = 1.0) -> Levels:
    """SNR / (k + SNR)^gamma, so 1 / (k + SNR)^gamma on eps: P2 (Choi et al., arXiv:2204.00227)."""
    return _snr(log_snr) / (_positive(k, "k of p2") + _snr(log_snr)) ** gamma


def edm(log_snr: Levels, *, sigma_data: float = 0.5) -> Levels:
    """SNR + 1 / sigma_data^2: Karras et al. (arXiv:2206.00364), table 1.

    Their data have deviation 0.5. Latents are scaled to deviation 1, and with sigma_data = 1 this
    is `snr_plus_one`.
    """
    return _snr(log_snr) + _positive(sigma_data, "sigma_data of edm") ** -2


def debiased(log_snr: Levels) -> Levels:
    """sqrt(SNR), so 1 / sqrt(SNR) on eps: debiased estimation (Yu et al., arXiv:2310.08442)."""
    return _snr(log_snr / 2)


def inverse(log_snr: Levels) -> Levels:
    """1 / SNR: "inv_snr" in the code of Min-SNR, where it is one of the baselines."""
    return _snr(-log_snr)


def tango(log_snr: Levels, *, gamma: float = 5.0) -> Levels:
    """(SNR + 1) min(1, gamma / SNR): what TANGO's training amounts to on x0.

    TANGO (arXiv:2304.13731) predicts v, but its code weighs v's error with the formula of Min-SNR for eps,
    min(SNR, gamma) / SNR, where min(SNR, gamma) / (SNR + 1) would be `min_snr`. With prediction "v" this
    function gives just the formula of that code. On x0 it lies between 1 (at pure noise) and
    gamma + 1 (at SNR = gamma), and tends to gamma for clean latents.
    """
    return (_snr(log_snr) + 1) * _library(log_snr).minimum(1.0, gamma * _snr(-log_snr))


def _clipped(log_snr: Levels, gamma: float, floor: float) -> Levels:
    return _library(log_snr).clip(_snr(log_snr), floor, gamma)


def _lifted(log_snr: Levels, gamma: float, floor: float) -> Levels:
    return floor + min_snr(log_snr, gamma=gamma)


def _lifted_softly(log_snr: Levels, gamma: float, floor: float) -> Levels:
    return floor + soft_min_snr(log_snr, gamma=gamma)


BSA_READINGS = {"clip": _clipped, "sum": _lifted, "smooth": _lifted_softly}


def bsa(
    log_snr: Levels, *, gamma: float = 5.0, floor: float = 1.0, reading: str = "clip"
) -> Levels:
    """clip(SNR, floor, gamma): balanced SNR-aware weighting, *as reconstructed here*.

    Liu et al., "Balanced SNR-Aware Distillation for Guided Text-to-Audio Generation"
    (arXiv:2312.15628). What the abstract claims: progressive distillation weighs its loss unevenly
    at both ends, high noise and low noise, and their mechanism balances the two; 200 steps become
    25 with little loss. Neither its formula nor code is at hand. "clip" is the simplest weighting that does
    as claimed: it has Salimans and Ho's floor under pure noise, which Min-SNR lacks, and Min-SNR's ceiling
    over clean latents, which `truncated` and `snr_plus_one` lack. No published figure of that paper is
    thereby reproduced.

    Args:
        log_snr: log(alpha^2 / sigma^2).
        gamma: the ceiling.
        floor: the floor.
        reading: "clip", or one of two other formulas of which the same can be said: "sum",
            floor + min(SNR, gamma), and "smooth", floor + gamma SNR / (SNR + gamma).

    Raises:
        ValueError: no such reading; `floor` above `gamma`, or not positive.
    """
    if not 0 < floor <= gamma:
        raise ValueError(
            f"bsa needs 0 < floor <= gamma, but got floor {floor:g} and gamma {gamma:g}."
        )
    return tables.choose(BSA_READINGS, reading, what="The reading of bsa")(log_snr, gamma, floor)


WEIGHTINGS: dict[str, Callable[..., Levels]] = {
    "uniform": uniform,
    "snr": snr,
    "snr_plus_one": snr_plus_one,
    "truncated": truncated,
    "min_snr": min_snr,
    "soft_min_snr": soft_min_snr,
    "sigmoid": sigmoid,
    "p2": p2,
    "edm": edm,
    "debiased": debiased,
    "inverse": inverse,
    "bsa": bsa,
    "tango": tango,
}


def weighting(name: str | Weighting, **options: float | str) -> Weighting:
    """The weighting of that name; the options are its function's, or in the name: "min_snr:gamma=3".

    A function of log SNR stands for itself.

    Raises:
        ValueError: no such weighting, an option that it does not have, or a value that it does not take.
    """
    if not isinstance(name, str):
        return functools.partial(name, **options) if options else name
    made = tables.configured(WEIGHTINGS, name, options, what="The weighting")
    made(np.zeros(1))  # tells of bad values now rather than in the first step
    return made


# The squared error of each prediction, over that of x0.
GAINS: dict[str, Weighting] = {"eps": snr, "x0": uniform, "v": snr_plus_one}


def gain(prediction: str, log_snr: Levels) -> Levels:
    """Squared error of the prediction over that of x0: SNR for "eps", 1 for "x0", SNR + 1 for "v".

    Raises:
        ValueError: no such prediction.
    """
    return tables.choose(GAINS, prediction, what="The prediction")(log_snr)


def weight_for(prediction: str, weighting: Weighting, log_snr: Levels) -> Levels:
    """The weighting's weight on the squared error of `prediction`: w / `gain`.

    At SNR = 0 there is none on eps (NaN or infinity): see `check`.

    Args:
        prediction: "eps", "x0" or "v".
        weighting: of x0; from `weighting`, or any function of log SNR.
        log_snr: log(alpha^2 / sigma^2), NumPy or JAX.

    Raises:
        ValueError: no such prediction.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return weighting(log_snr) / gain(prediction, log_snr)


def check(weighting: Weighting, schedule: Schedule, prediction: str) -> None:
    """Raises ValueError, in one sentence, where a weighting cannot be used on a schedule.

    It must give every timestep a finite weight that is not negative, and some timestep a positive one.
    """
    name = _name(weighting)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        shape = np.shape(weighting(schedule.log_snr))
        if shape != schedule.log_snr.shape:
            raise ValueError(
                f"A weighting must give one weight for each of {schedule.train_steps} log SNRs, but "
                f"{name[0].lower()}{name[1:]} gave shape {shape}."
            )
        weights = np.asarray(weight_for(prediction, weighting, schedule.log_snr))
    bad = np.flatnonzero(~np.isfinite(weights) | (weights < 0))
    if len(bad):
        level = schedule.log_snr[bad[0]]
        blind = prediction == "eps" and np.isneginf(level)
        hint = ", where eps says nothing of x0 (predict v or x0)" if blind else ""
        raise ValueError(
            f"{name} weighs the error of {prediction} with {weights[bad[0]]:g} at timestep {bad[0]}, "
            f"whose log SNR is {level:g}{hint}; weights must be "
            "finite and not negative."
        )
    if not weights.any():
        raise ValueError(f"{name} weighs the error of {prediction} with 0 at every timestep.")


def _name(weighting: Weighting) -> str:
    """As in "The weighting min_snr(gamma=5)"."""
    partial = isinstance(weighting, functools.partial)
    options = weighting.keywords if partial else {}
    function = weighting.func if partial else weighting
    inside = ", ".join(f"{key}={value}" for key, value in options.items())
    return f"The weighting {getattr(function, '__name__', function)}" + f"({inside})" * bool(inside)


def _positive(value: float, what: str) -> float:
    if not value > 0:
        raise ValueError(f"{what} must be above 0, but got {value:g}.")
    return value
