"""Data whose perfect denoiser is known and not linear: a mixture of isotropic Gaussians."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize, stats

from ldm_jax.diffusion import parameterization
from ldm_jax.distill.grid import Level, Network


def _library(array):
    return np if isinstance(array, np.ndarray) else jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Mixture:
    """x0 ~ sum_k weights[k] N(means[k], std^2 I), means (components, coordinates); a pytree."""

    weights: np.ndarray
    means: np.ndarray
    std: float

    def log_density(self, z, alpha, sigma):
        """(batch,) of z (batch, coordinates) at levels (batch,), up to a constant."""
        logits, variance, _ = self._parts(z, alpha, sigma)
        scale = 0.5 * self.means.shape[1] * jnp.log(variance[:, 0, 0])
        return jax.scipy.special.logsumexp(logits, axis=1) - scale

    def x0(self, z, alpha, sigma):
        """E[x0 | z]: every component's linear denoiser, weighted with its posterior probability.

        In NumPy for NumPy arrays, else in JAX.
        """
        logits, variance, missed = self._parts(z, alpha, sigma)
        _, means = self._cast(z)
        pull = alpha[:, None, None] * self.std**2 / variance
        posterior = _library(z).exp(logits - logits.max(axis=1, keepdims=True))
        posterior = posterior / posterior.sum(axis=1, keepdims=True)
        return (posterior[:, :, None] * (means + pull * missed)).sum(axis=1)

    def _cast(self, z):
        """The weights (1, components) and means (1, components, coordinates) in the precision of z."""
        return (_library(z).asarray(array, z.dtype)[None] for array in (self.weights, self.means))

    def _parts(self, z, alpha, sigma):
        """Log of weight times density, and of every component the variance and z less its mean."""
        weights, means = self._cast(z)
        variance = ((alpha * self.std) ** 2 + sigma**2)[:, None, None]
        missed = z[:, None] - alpha[:, None, None] * means
        logits = _library(z).log(weights) - 0.5 * (missed**2).sum(axis=2) / variance[:, :, 0]
        return logits, variance, missed

    def network(self, levels: Level, prediction: str) -> Network:
        """The perfect denoiser at levels (levels,), which it knows by their timesteps.

        Outside jitted functions it computes in NumPy, and nothing is compiled.
        """

        def predict(z, timesteps):
            if not isinstance(z, jax.core.Tracer):
                z, timesteps = np.asarray(z), np.asarray(timesteps)
            nearest = abs(timesteps[:, None] - levels.timestep[None]).argmin(axis=1)
            alpha, sigma = levels.alpha[nearest], levels.sigma[nearest]
            flat, scales = z.reshape(len(z), -1), (alpha[:, None], sigma[:, None])
            told = parameterization.CONVERSIONS[prediction]["x0"]
            output = told(self.x0(flat, alpha, sigma), flat, *scales)
            return jnp.asarray(output.reshape(z.shape))

        return predict

    def sample(self, seed: int, count: int) -> np.ndarray:
        random = np.random.RandomState(seed)
        component = random.choice(len(self.weights), size=count, p=self.weights)
        shape = (count, self.means.shape[1])
        return self.means[component] + self.std * random.standard_normal(shape)

    def flow(self, z: np.ndarray, here: tuple, there: tuple, steps: int = 400) -> np.ndarray:
        """Where the probability flow takes z (batch, coordinates), by Runge-Kutta's fourth order in log(sigma / alpha).

        d(z / alpha) / d log(sigma / alpha) = z / alpha - E[x0 | z], in float64. The levels are
        (alpha, sigma); none is clean or pure noise.
        """
        times = np.linspace(*(np.log(sigma / alpha) for alpha, sigma in (here, there)), steps + 1)
        h = times[1] - times[0]

        def slope(scaled, time):
            alpha = jnp.full(len(scaled), 1 / jnp.hypot(1.0, jnp.exp(time)))
            return scaled - self.x0(alpha[:, None] * scaled, alpha, jnp.exp(time) * alpha)

        def step(scaled, time):
            one = slope(scaled, time)
            two = slope(scaled + h / 2 * one, time + h / 2)
            three = slope(scaled + h / 2 * two, time + h / 2)
            four = slope(scaled + h * three, time + h)
            return scaled + h / 6 * (one + 2 * two + 2 * three + four), None

        with jax.enable_x64(True):
            start, times = jnp.asarray(z / here[0]), jnp.asarray(times)
            return np.asarray(jax.lax.scan(step, start, times[:-1])[0]) * there[0]

    def quantile_flow(self, z: np.ndarray, here: tuple, there: tuple) -> np.ndarray:
        """The same for z (batch, 1) in closed form: in one dimension the flow keeps every point's quantile."""

        def distribution(at, level):
            alpha, sigma = level
            components = stats.norm(alpha * self.means[:, 0], np.hypot(alpha * self.std, sigma))
            return self.weights @ components.cdf(at)

        def found(wanted):
            return optimize.brentq(lambda at: distribution(at, there) - wanted, -30, 30, xtol=1e-14)

        return np.array([[found(distribution(at, here))] for at in z[:, 0]])


LINE = Mixture(np.array([0.2, 0.5, 0.3]), np.array([[-1.5], [0.1], [1.2]]), 0.2)
PLANE = Mixture(np.array([0.3, 0.25, 0.45]), np.array([[-1.0, 0.5], [0.9, 1.1], [0.3, -1.2]]), 0.25)
