"""The noise levels at which a student is trained, and what its errors weigh there."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int

from ldm_jax.diffusion import student_grid, weightings
from ldm_jax.diffusion.parameterization import PerClip
from ldm_jax.diffusion.schedules import Schedule
from ldm_jax.diffusion.weightings import Weighting

# network(z (batch, *latent), timesteps (batch,)) -> raw output (batch, *latent), of the kind that it was
# trained to predict. Conditions, guidance and parameters are closed over, inside the step that they came into
# as arguments.
Network = Callable[[Array, Array], Array]
Index = int | Int[Array | np.ndarray, "*batch"]
Table = Float64[np.ndarray, " levels"]


class Level(NamedTuple):
    """Noise levels z = alpha x0 + sigma eps, one for all clips or one a clip.

    Attributes:
        timestep: what a network is asked at; -1 at the clean end, where none is.
        alpha: scale of the signal.
        sigma: scale of the noise.
    """

    timestep: PerClip
    alpha: PerClip
    sigma: PerClip


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """Noise levels in float64 on the host, from index 0, the cleanest, to index `steps`, the noisiest.

    A student is asked at indices 1 .. `steps`; index 0 is where its last step ends.

    Attributes:
        timesteps: (steps + 1,) not always integers.
        alpha: (steps + 1,).
        sigma: (steps + 1,).
    """

    timesteps: Table
    alpha: Table
    sigma: Table

    @property
    def steps(self) -> int:
        """How many steps lead from the noisiest level to the cleanest."""
        return len(self.timesteps) - 1

    @property
    def log_snr(self) -> Table:
        """log(alpha^2 / sigma^2); infinite at an end that is exactly clean or pure noise."""
        with np.errstate(divide="ignore"):
            return 2 * (np.log(self.alpha) - np.log(self.sigma))

    def at(self, index: Index, dtype: Any = jnp.float32) -> Level:
        """The levels of an index, which may be traced and must lie in 0 .. `steps`."""
        tables = (self.timesteps, self.alpha, self.sigma)
        return Level(*(jnp.asarray(table, dtype)[index] for table in tables))


def progressive_grid(schedule: Schedule, steps: int, *, pure_noise: bool = False) -> Grid:
    """The grid of a progressive student; see `student_grid.progressive`, also for what it raises."""
    return Grid(*student_grid.progressive(schedule, steps, pure_noise=pure_noise))


def uniform_grid(schedule: Schedule, points: int = 18) -> Grid:
    """ConsistencyTTA's grid; see `student_grid.uniform`, also for what it raises."""
    return Grid(*student_grid.uniform(schedule, points))


def karras_grid(schedule: Schedule, points: int = 18, rho: float = 7.0) -> Grid:
    """Karras et al.'s grid between the same ends; see `student_grid.karras`, also for what it raises."""
    return Grid(*student_grid.karras(schedule, points, rho))


GRIDS = {"uniform": uniform_grid, "karras": karras_grid}


def index_of(place: Float[Array, " batch"], count: int | Int[Array, ""]) -> Int[Array, " batch"]:
    """An index 1 .. `count` for a number in 0 .. 1; for a uniform one each is as likely. `count` may be traced."""
    return 1 + jnp.minimum(jnp.floor(place * count).astype(jnp.int32), count - 1)


def loss_weights(grid: Grid, weighting: Weighting, prediction: str) -> Table:
    """(steps + 1,) weights on the squared error of `prediction` at each index; 0 at index 0.

    They are w, w / SNR or w / (SNR + 1) on x0, eps or v, with which one denoiser has one loss whatever it
    predicts. Not checked: see `check_weights`.

    Args:
        grid: whose indices 1 .. steps a student is asked at.
        weighting: of x0's squared error, a function of log SNR.
        prediction: "eps", "x0" or "v".

    Raises:
        ValueError: no such prediction.
    """
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        weights = weightings.weight_for(prediction, weighting, grid.log_snr[1:])
    return np.concatenate([[0.0], np.asarray(weights, np.float64)])


def check_weights(grid: Grid, weighting: Weighting, prediction: str) -> None:
    """Raises ValueError, in one sentence, where a weighting cannot be used on a grid.

    It must give every index but 0 a finite weight that is not negative, and some index a positive one. On
    eps there is none at zero signal.
    """
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        shape = np.shape(weighting(grid.log_snr[1:]))
    if shape != (grid.steps,):
        raise ValueError(
            f"A weighting must give one weight for each of {grid.steps} log SNRs, but it gave shape "
            f"{shape}."
        )
    weights = loss_weights(grid, weighting, prediction)
    bad = np.flatnonzero(~np.isfinite(weights) | (weights < 0))
    if len(bad):
        worst, level = bad[-1], grid.log_snr[bad[-1]]
        blind = prediction == "eps" and np.isneginf(level)
        hint = ", where eps says nothing of x0 (predict v or x0)" if blind else ""
        raise ValueError(
            f"The weighting weighs the error of {prediction} with {weights[worst]:g} at level {worst} of "
            f"{grid.steps}, whose log SNR is {level:g}{hint}; weights must be finite and not negative."
        )
    if not weights.any():
        raise ValueError(
            f"The weighting weighs the error of {prediction} with 0 at all {grid.steps} levels."
        )
