"""Data whose perfect denoiser is known: a mixture of Gaussians with small clusters inside of large ones.

All is exact up to rounding but for the probability flow, which is integrated so finely that its error does not matter.
Levels are given as sigma / alpha, as in Karras et al. (arXiv:2206.00364): y = z / alpha = x0 + s eps.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ldm_jax.diffusion.parameterization import CONVERSIONS
from ldm_jax.diffusion.schedules import Schedule
from ldm_jax.distill.grid import Network

Points = Float[Array | np.ndarray, "batch dim"]
Sigmas = Float[Array | np.ndarray, " batch"]

# Where the flow is taken to have arrived. A point is then off by s^2 / (2 std^2) of its distance from its cluster's
# centre: 3e-6 of it at a std of 0.04.
NEARLY_CLEAN = 1e-4


@dataclasses.dataclass(frozen=True, eq=False)
class Mixture:
    """x0 ~ sum_k weights_k N(means_k, std^2 I).

    Attributes:
        weights: (components,) with sum 1.
        means: (components, dim).
        std: of every component, in each direction.
    """

    weights: Float[np.ndarray, " components"]
    means: Float[np.ndarray, "components dim"]
    std: float

    @property
    def dim(self) -> int:
        """Of a point."""
        return self.means.shape[1]

    @property
    def mean(self) -> Float[np.ndarray, " dim"]:
        """E[x0]."""
        return self.weights @ self.means

    @property
    def covariance(self) -> Float[np.ndarray, "dim dim"]:
        """Of x0."""
        centred = self.means - self.mean
        return (self.weights * centred.T) @ centred + self.std**2 * np.eye(self.dim)

    def sample(self, key: Key[Array, ""], count: int) -> Float[Array, "count dim"]:
        """Independent draws, in float32."""
        which, around = jax.random.split(key)
        component = jax.random.choice(
            which, len(self.weights), (count,), p=jnp.asarray(self.weights, jnp.float32)
        )
        centres = jnp.asarray(self.means, jnp.float32)[component]
        return centres + self.std * jax.random.normal(around, centres.shape)

    def x0(self, y: Points, edm_sigma: Sigmas) -> Points:
        """E[x0 | y = x0 + s eps], in NumPy for NumPy arrays and in JAX for JAX's.

        With the posterior p_k ~ weights_k N(y; means_k, (std^2 + s^2) I) of the components, it is
        (std^2 y + s^2 sum_k p_k means_k) / (std^2 + s^2).
        """
        library: Any = jnp if isinstance(y, jax.Array) else np
        means, weights = (library.asarray(x, y.dtype) for x in (self.means, self.weights))
        noise = (edm_sigma**2)[:, None]
        variance = self.std**2 + noise
        # |y - m|^2 without |y|^2, which all components share.
        distance = (means**2).sum(1)[None] - 2 * y @ means.T
        logits = library.log(weights)[None] - distance / (2 * variance)
        posterior = library.exp(logits - logits.max(axis=1, keepdims=True))
        centres = posterior @ means / posterior.sum(axis=1, keepdims=True)
        return (self.std**2 * y + noise * centres) / variance


def nested(
    *, dim: int = 4, clusters: int = 4, within: int = 4, ratio: float = 0.25, seed: int = 0
) -> Mixture:
    """`clusters` far apart, each of `within` components close to each other: what both ends of the noise decide.

    Scaled to mean 0 and, averaged over the coordinates, variance 1, as latents are.

    Args:
        dim: of a point.
        clusters: of components.
        within: components of each.
        ratio: distance of components within a cluster over that of clusters, and std over that of components.
        seed: of places and weights, NumPy's RandomState.
    """
    random = np.random.RandomState(seed)
    large = random.standard_normal((clusters, 1, dim))
    small = random.standard_normal((clusters, within, dim))
    means = (large + ratio * small).reshape(-1, dim)
    weights = random.dirichlet(np.full(len(means), 4.0))
    raw = Mixture(weights, means, ratio**2)
    scale = np.sqrt(np.trace(raw.covariance) / dim)
    return Mixture(weights, (means - raw.mean) / scale, raw.std / scale)


def network(mixture: Mixture, schedule: Schedule, prediction: str = "v") -> Network:
    """The perfect denoiser, asked like any network; sigma / alpha is linear between timesteps, as in every grid."""

    def ask(z: Float[Array, "batch dim"], timesteps: Float[Array, " batch"]) -> Array:
        levels = jnp.asarray(schedule.edm_sigma, jnp.float32)
        edm_sigma = jnp.interp(timesteps, jnp.arange(len(levels), dtype=jnp.float32), levels)
        alpha = (1 / jnp.hypot(1.0, edm_sigma))[:, None]
        sigma = edm_sigma[:, None] * alpha
        x0 = mixture.x0(z / alpha, edm_sigma)
        return CONVERSIONS[prediction]["x0"](x0, z, alpha, sigma)

    return ask


def flow(
    mixture: Mixture,
    y: Float[np.ndarray, "batch dim"],
    here: Float[np.ndarray, " batch"],
    there: Float[np.ndarray, " batch"],
    *,
    longest: float = 0.1,
) -> Float[np.ndarray, "batch dim"]:
    """Where the probability flow takes y = z / alpha, in float64.

    Runge-Kutta's fourth order on dy / d log s = y - E[x0 | y], in as many steps for every point.

    Args:
        mixture: whose flow it is.
        y: at level `here`.
        here: sigma / alpha of each point.
        there: where to; 0 is clean and means `NEARLY_CLEAN`.
        longest: step in log s.
    """
    start = np.log(here)
    way = np.log(np.maximum(there, NEARLY_CLEAN)) - start
    steps = int(np.ceil(np.abs(way).max(initial=0) / longest))
    h = way / max(steps, 1)
    wide = h[:, None]

    def slope(y: np.ndarray, time: np.ndarray) -> np.ndarray:
        return y - mixture.x0(y, np.exp(time))

    y = y.astype(np.float64)
    for step in range(steps):
        time = start + step * h
        one = slope(y, time)
        two = slope(y + wide / 2 * one, time + h / 2)
        three = slope(y + wide / 2 * two, time + h / 2)
        four = slope(y + wide * three, time + h)
        y = y + wide / 6 * (one + 2 * two + 2 * three + four)
    return y


def gaussian_flow(
    mixture: Mixture, y: Float[np.ndarray, "batch dim"], edm_sigma: float
) -> Float[np.ndarray, "batch dim"]:
    """Where the flow would take y at level `edm_sigma`, were the data Gaussian with this mean and covariance C.

    mean + (C (C + s^2 I)^-1)^(1/2) (y - mean): all that the first two moments tell.
    """
    variances, axes = np.linalg.eigh(mixture.covariance)
    shrink = np.sqrt(variances / (variances + edm_sigma**2))
    return mixture.mean + (y - mixture.mean) @ (axes * shrink) @ axes.T
