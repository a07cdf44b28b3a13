"""How far a student is from the truth: from the exact probability flow, and from the distribution itself."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import numpy as np
import scipy.stats
from jaxtyping import Float, Int

from ldm_jax.distill.grid import Grid
from ldm_jax.study.mixture import Mixture, flow, gaussian_flow

Points = Float[np.ndarray, "batch dim"]


def map_error(said: Points, truth: Points) -> float:
    """Mean squared difference of a number: of samples from where the exact flow takes the same noise."""
    return float(np.mean((np.asarray(said, np.float64) - truth) ** 2))


def sliced_quantiles(
    points: Points, directions: Float[np.ndarray, "dim slices"], count: int
) -> Float[np.ndarray, "count slices"]:
    """Of the points' projections on every direction, the quantiles (i + 1/2) / count."""
    projected = np.sort(np.asarray(points, np.float64) @ directions, axis=0)
    return projected[((np.arange(count) + 0.5) / count * len(points)).astype(int)]


def sliced_distance(
    points: Points,
    quantiles: Float[np.ndarray, "batch slices"],
    directions: Float[np.ndarray, "dim slices"],
) -> float:
    """Sliced Wasserstein-2 distance, sqrt(mean over unit directions d of W2(x.d, y.d)^2), as in Rabin et al. (2011).

    In one dimension the best transport keeps the order.

    Args:
        points: x.
        quantiles: as many of y, from `sliced_quantiles`.
        directions: d.
    """
    own = sliced_quantiles(points, directions, len(points))
    return float(np.sqrt(np.mean((own - quantiles) ** 2)))


class Questions(NamedTuple):
    """Noisy points at all levels of a grid, and what the best student would say of them.

    Attributes:
        index: of the level in the grid.
        z: variance preserving.
        x0: that takes one DDIM step to where the exact flow leads; see `answers`.
    """

    index: Int[np.ndarray, " asked"]
    z: Float[np.ndarray, "asked dim"]
    x0: Float[np.ndarray, "asked dim"]


def answers(
    mixture: Mixture, z: Points, grid: Grid, index: Int[np.ndarray, " batch"], *, end: bool
) -> Points:
    """The x0 with which one step from a level of the grid arrives where the exact flow does.

    With y = z / alpha and s = sigma / alpha at the level, and y'' and s'' at the next, (s y'' - s'' y) / (s - s'').

    Args:
        mixture: the data.
        z: at the levels `index`.
        grid: of the student.
        index: 1 .. steps.
        end: whether a step goes to clean data, as a consistency model's, and not to the next level.
    """
    scale = grid.sigma / grid.alpha
    here, there = scale[index], 0 * scale[index] if end else scale[index - 1]
    y = z / grid.alpha[index, None]
    arrived = np.empty_like(y)
    for far in (there == 0, there > 0):  # those that go on to another level have less far to go
        arrived[far] = flow(mixture, y[far], here[far], there[far])
    return (here[:, None] * arrived - there[:, None] * y) / (here - there)[:, None]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """Fixed noise, points and directions with which every student is measured.

    Attributes:
        mixture: the data.
        edm_sigma: sigma / alpha of the noisiest level, from which the flow starts.
        count: noises, a power of 2.
        exact: points that stand for the distribution.
        per_level: points asked at each level.
        slices: directions.
        seed: of all of them.
    """

    mixture: Mixture
    edm_sigma: float
    count: int = 2048
    exact: int = 2**17
    per_level: int = 128
    slices: int = 64
    seed: int = 0

    def _key(self, what: int) -> jax.Array:
        return jax.random.fold_in(jax.random.key(self.seed), what)

    @functools.cached_property
    def noise(self) -> Points:
        """Standard normal points, spread evenly by Sobol's sequence; samplers begin with them."""
        drawn = scipy.stats.qmc.Sobol(self.mixture.dim, rng=self.seed).random(self.count)
        return scipy.stats.norm.ppf(drawn)

    @functools.cached_property
    def directions(self) -> Float[np.ndarray, "dim slices"]:
        """Of length 1."""
        drawn = np.asarray(jax.random.normal(self._key(0), (self.mixture.dim, self.slices)))
        return drawn / np.linalg.norm(drawn, axis=0)

    @functools.cached_property
    def quantiles(self) -> Float[np.ndarray, "count slices"]:
        """Of many exact samples."""
        points = np.asarray(self.mixture.sample(self._key(1), self.exact))
        return sliced_quantiles(points, self.directions, self.count)

    @functools.cached_property
    def flowed(self) -> Points:
        """Where the exact flow takes `noise`."""
        here = np.full(self.count, self.edm_sigma)
        return flow(self.mixture, self._start, here, 0 * here)

    @property
    def _start(self) -> Points:
        return self.noise * np.hypot(1, self.edm_sigma)

    def figures(self, samples: Points) -> dict[str, float]:
        """Of what a student makes of `noise`."""
        return {
            "map_error": map_error(samples, self.flowed),
            "sliced_w2": sliced_distance(samples, self.quantiles, self.directions),
        }

    def floor(self) -> dict[str, float]:
        """Of a perfect student: of the exact flow itself."""
        return self.figures(self.flowed)

    def ceiling(self) -> dict[str, float]:
        """Of the flow of a Gaussian of the same mean and covariance: of a student that knows no more."""
        return self.figures(gaussian_flow(self.mixture, self._start, self.edm_sigma))

    def questions(self, grid: Grid, *, end: bool = False) -> Questions:
        """`per_level` noisy points at each of the grid's levels 1 .. steps, with `answers`."""
        x0 = np.asarray(self.mixture.sample(self._key(2), self.per_level), np.float64)
        eps = np.asarray(jax.random.normal(self._key(3), x0.shape), np.float64)
        index = np.repeat(np.arange(1, grid.steps + 1), self.per_level)
        x0, eps = (np.tile(points, (grid.steps, 1)) for points in (x0, eps))
        z = grid.alpha[index, None] * x0 + grid.sigma[index, None] * eps
        return Questions(index, z, answers(self.mixture, z, grid, index, end=end))


def error_by_level(said: Points, asked: Questions) -> Float[np.ndarray, " levels"]:
    """Mean squared error of x0 of a number at each level 1 .. steps."""
    missed = ((np.asarray(said, np.float64) - asked.x0) ** 2).mean(axis=1)
    return np.bincount(asked.index, weights=missed)[1:] / np.bincount(asked.index)[1:]
