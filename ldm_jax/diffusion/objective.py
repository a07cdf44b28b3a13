"""The loss of a denoiser: what is predicted, how often at which noise, and how much its error weighs.

    z = alpha_t x0 + sigma_t eps,  t ~ p(t),  eps ~ N(0, I)
    loss = E[w(t) mean((network(z, t) - target)^2)],  target = eps, x0 or v

Schedule, prediction, weighting and density are chosen independently of each other. By default they are
AudioLDM 2's: eps, weighted 1, at uniform timesteps.
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int, Key, Shaped

from ldm_jax.diffusion import bands, densities, parameterization, schedules, weightings
from ldm_jax.diffusion.densities import Density
from ldm_jax.diffusion.schedules import Schedule
from ldm_jax.diffusion.weightings import Weighting

PerTimestep = Float64[np.ndarray, " timesteps"]


class Errors(NamedTuple):
    """What a batch of predictions missed, one value a clip, at least float32.

    Attributes:
        loss: the weighted error, whose mean over the batch is the loss.
        prediction: mean squared error of what is predicted, without weight.
        x0: mean squared error of the x0 that the prediction amounts to.
        band: number of the band that the clip's log SNR lies in.
    """

    loss: Float[Array, " batch"]
    prediction: Float[Array, " batch"]
    x0: Float[Array, " batch"]
    band: Int[Array, " batch"]


def squared_error(
    output: Shaped[Array, "batch *latent"], target: Shaped[Array, "batch *latent"]
) -> Float[Array, " batch"]:
    """mean((output - target)^2) of each clip, in float32, or float64 where both are."""
    dtype = jnp.promote_types(jnp.promote_types(output.dtype, target.dtype), jnp.float32)
    difference = output.astype(dtype) - target.astype(dtype)
    return jnp.mean(difference**2, axis=tuple(range(1, output.ndim)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Objective:
    """A training objective, checked when it is made.

    Attributes:
        schedule: of the noise.
        prediction: what the network predicts, "eps", "x0" or "v".
        weighting: of x0's squared error, a function of log SNR; converted to `prediction` here. "snr" weighs
            eps's error with 1.
        density: of the timesteps.
        stratified: whether the timesteps of a batch are spread evenly; see `densities.draw`.
        edges: between bands of log SNR.

    Raises:
        ValueError: no such prediction; a weighting, density or edges that do not fit: see `weightings.check`,
            `densities.probabilities`, `bands.check_edges`.
    """

    schedule: Schedule
    prediction: str = "eps"
    weighting: Weighting = weightings.snr
    density: Density = densities.uniform
    stratified: bool = False
    edges: tuple[float, ...] = bands.EDGES

    def __post_init__(self) -> None:
        bands.check_edges(self.edges)
        weightings.check(self.weighting, self.schedule, self.prediction)
        _ = self.probabilities

    @functools.cached_property
    def probabilities(self) -> PerTimestep:
        """Of each timestep."""
        return densities.probabilities(self.density, self.schedule)

    @functools.cached_property
    def weights(self) -> PerTimestep:
        """On the squared error of the prediction, of each timestep."""
        return self._tabulate(lambda x: weightings.weight_for(self.prediction, self.weighting, x))

    @functools.cached_property
    def gains(self) -> PerTimestep:
        """Squared error of the prediction over that of x0, of each timestep."""
        return self._tabulate(lambda x: weightings.gain(self.prediction, x))

    @functools.cached_property
    def effective(self) -> PerTimestep:
        """Weight on x0 times probability, of each timestep, with sum 1: all that decides what is learnt."""
        product = self.weights * self.gains * self.probabilities
        return product / product.sum()

    def draw(
        self, key: Key[Array, ""], shape: tuple[int, ...]
    ) -> tuple[Int[Array, " batch"], Float[Array, "batch *latent"]]:
        """(timesteps, noise) for latents of that shape, in float32."""
        for_timesteps, for_noise = jax.random.split(key)
        timesteps = densities.draw(
            for_timesteps, self.probabilities, shape[0], stratified=self.stratified
        )
        return timesteps, jax.random.normal(for_noise, shape, jnp.float32)

    def noisy(
        self,
        latents: Float[Array, "batch *latent"],
        timesteps: Int[Array, " batch"],
        noise: Float[Array, "batch *latent"],
    ) -> Float[Array, "batch *latent"]:
        """The network's input z = alpha x0 + sigma eps, at least float32."""
        latents, noise = _precise(latents), _precise(noise)
        alpha, sigma = self.schedule.at(timesteps, dtype=latents.dtype)
        return parameterization.add_noise(latents, noise, alpha=alpha, sigma=sigma)

    def target(
        self,
        latents: Float[Array, "batch *latent"],
        timesteps: Int[Array, " batch"],
        noise: Float[Array, "batch *latent"],
    ) -> Float[Array, "batch *latent"]:
        """What the network should have said: eps, x0, or v = alpha eps - sigma x0, at least float32."""
        latents, noise = _precise(latents), _precise(noise)
        if self.prediction != "v":
            return {"eps": noise, "x0": latents}[self.prediction]
        alpha, sigma = self.schedule.at(timesteps, dtype=latents.dtype)
        return parameterization.add_noise(noise, latents, alpha=alpha, sigma=-sigma)

    def errors(
        self,
        output: Shaped[Array, "batch *latent"],
        target: Float[Array, "batch *latent"],
        timesteps: Int[Array, " batch"],
    ) -> Errors:
        """What the network's output missed; the loss is `errors(...).loss.mean()`.

        Args:
            output: of the network, at any precision.
            target: of the same kind; from `target`, or a teacher's.
            timesteps: at which the network was asked.
        """
        missed = squared_error(output, target)
        at = functools.partial(_at, timesteps=timesteps, dtype=missed.dtype)
        return Errors(
            loss=at(self.weights) * missed,
            prediction=missed,
            x0=missed / at(self.gains),
            band=self.bands_of(timesteps),
        )

    def bands_of(self, timesteps: Int[Array, "*batch"]) -> Int[Array, "*batch"]:
        """Number of the log-SNR band of each timestep; `bands.labels(edges)` names them."""
        return jnp.asarray(bands.band_of(self.schedule.log_snr, self.edges), jnp.int32)[timesteps]

    def _tabulate(self, function: Weighting) -> PerTimestep:
        with np.errstate(over="ignore"):
            return np.asarray(function(self.schedule.log_snr), np.float64)


def configured(
    *,
    schedule: str = "scaled_linear",
    zero_terminal_snr: bool = False,
    prediction: str = "eps",
    weighting: str | Weighting = "snr",
    density: str = "uniform",
    stratified: bool = False,
    edges: tuple[float, ...] = bands.EDGES,
) -> Objective:
    """The objective that the fields of a config describe.

    Schedule, weighting and density are names, with options as in "min_snr:gamma=3".

    Args:
        schedule: a name in `schedules.SCHEDULES`.
        zero_terminal_snr: whether the schedule is rescaled to end in pure noise.
        prediction: "eps", "x0" or "v".
        weighting: a name in `weightings.WEIGHTINGS`, or a function of log SNR.
        density: a name in `densities.DENSITIES`.
        stratified: whether the timesteps of a batch are spread evenly.
        edges: between bands of log SNR.

    Raises:
        ValueError: a name, option or combination that there is not.
    """
    laid = schedules.schedule(schedule)
    return Objective(
        schedule=schedules.rescale_zero_terminal_snr(laid) if zero_terminal_snr else laid,
        prediction=prediction,
        weighting=weightings.weighting(weighting),
        density=densities.density(density),
        stratified=stratified,
        edges=edges,
    )


def _precise(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def _at(
    table: PerTimestep, timesteps: Int[Array, " batch"], dtype: jnp.dtype
) -> Float[Array, " batch"]:
    return jnp.asarray(table, dtype)[timesteps]
