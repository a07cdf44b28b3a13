"""Noise schedules: how much signal and how much noise a latent holds at each timestep.

All are variance preserving, z_t = alpha_t x0 + sigma_t eps with alpha_t^2 + sigma_t^2 = 1. A
discrete schedule is computed on the host in float64 and cast where it is used, as the published
training code does. (diffusers accumulates its products in float32 instead; for AudioLDM 2's
schedule the two differ by 1.0e-6 in alphas_cumprod and 3.5e-6 in sigma / alpha, relative, which no
sampler amplifies to 1e-4 of its result.)
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int

from ldm_jax.diffusion import tables

# Where a rescaled schedule ends in pure noise, sigma / alpha would be infinite: samplers that
# integrate over it start at this alphas_cumprod instead (the smallest positive float16, as in
# diffusers).
SMALLEST_ALPHAS_CUMPROD = 2.0**-24


@dataclasses.dataclass(frozen=True, eq=False)
class Schedule:
    """Noise levels of the timesteps 0 (nearly clean) to T - 1 (nearly noise), float64 on the host.

    Attributes:
        alphas_cumprod: alpha_t^2, the fraction of the variance that is signal.
    """

    alphas_cumprod: Float64[np.ndarray, " timesteps"]

    @property
    def train_steps(self) -> int:
        """T, the number of timesteps."""
        return len(self.alphas_cumprod)

    @property
    def alpha(self) -> Float64[np.ndarray, " timesteps"]:
        """Scale of the signal."""
        return np.sqrt(self.alphas_cumprod)

    @property
    def sigma(self) -> Float64[np.ndarray, " timesteps"]:
        """Scale of the noise."""
        return np.sqrt(1 - self.alphas_cumprod)

    @property
    def log_snr(self) -> Float64[np.ndarray, " timesteps"]:
        """log(alpha_t^2 / sigma_t^2); -inf where nothing but noise is left."""
        with np.errstate(divide="ignore"):
            return np.log(self.alphas_cumprod) - np.log1p(-self.alphas_cumprod)

    @property
    def edm_sigma(self) -> Float64[np.ndarray, " timesteps"]:
        """sigma_t / alpha_t, the noise level of Karras et al. (arXiv:2206.00364); always finite."""
        kept = np.where(self.alphas_cumprod == 0, SMALLEST_ALPHAS_CUMPROD, self.alphas_cumprod)
        return np.sqrt((1 - kept) / kept)

    def at(
        self, timesteps: Int[Array, "*batch"], *, dtype: Any = jnp.float32
    ) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """(alpha, sigma) on the device at integer timesteps, which must lie in 0 .. T - 1."""
        return jnp.asarray(self.alpha, dtype)[timesteps], jnp.asarray(self.sigma, dtype)[timesteps]


def from_betas(betas: Float64[np.ndarray, " timesteps"]) -> Schedule:
    """alphas_cumprod_t = prod_{s <= t} (1 - beta_s)."""
    return Schedule(np.cumprod(1 - betas))


def scaled_linear(
    *, beta_start: float = 0.0015, beta_end: float = 0.0195, train_steps: int = 1000
) -> Schedule:
    """Latent diffusion's schedule, sqrt(beta) linear in t ("linear" in CompVis' code).

    The ends are AudioLDM 2's.
    """
    return from_betas(np.linspace(beta_start**0.5, beta_end**0.5, train_steps) ** 2)


def linear(
    *, beta_start: float = 1e-4, beta_end: float = 0.02, train_steps: int = 1000
) -> Schedule:
    """DDPM's schedule, beta linear in t (Ho et al., arXiv:2006.11239)."""
    return from_betas(np.linspace(beta_start, beta_end, train_steps))


def cosine(*, offset: float = 0.008, max_beta: float = 0.999, train_steps: int = 1000) -> Schedule:
    """Discrete cosine schedule: alphas_cumprod follows cos^2(pi/2 (t/T + offset) / (1 + offset)).

    beta_t = min(1 - f(t + 1) / f(t), max_beta) with f that function. Nichol and Dhariwal
    (arXiv:2102.09672); diffusers calls it squaredcos_cap_v2.
    """
    u = np.arange(train_steps + 1) / train_steps
    kept = np.cos((u + offset) / (1 + offset) * np.pi / 2) ** 2
    return from_betas(np.minimum(1 - kept[1:] / kept[:-1], max_beta))


SCHEDULES = {"scaled_linear": scaled_linear, "linear": linear, "cosine": cosine}


def schedule(name: str, **options: float | int) -> Schedule:
    """The discrete schedule of that name; the options are its function's, or in the name: "linear:beta_end=0.01".

    Raises:
        ValueError: no such schedule, or an option that it does not have.
    """
    return tables.configured(SCHEDULES, name, options, what="The noise schedule")()


def rescale_zero_terminal_snr(original: Schedule) -> Schedule:
    """Shifts and scales alpha_t so that alpha_{T-1} = 0 and alpha_0 stays.

    Lin et al. (arXiv:2305.08891), algorithm 1.
    """
    first, last = original.alpha[0], original.alpha[-1]
    alpha = (original.alpha - last) * (first / (first - last))
    return Schedule(alpha**2)


def continuous_cosine(
    t: Float[Array, "*batch"],
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """(alpha, sigma) = (cos(pi t / 2), sin(pi t / 2)) for t in [0, 1]."""
    return jnp.cos(jnp.pi / 2 * t), jnp.sin(jnp.pi / 2 * t)


def cosine_log_snr(
    t: Float[Array, "*batch"], *, log_snr_min: float = -20.0, log_snr_max: float = 20.0
) -> Float[Array, "*batch"]:
    """Continuous cosine -2 log tan(a t + b), from log_snr_max at t = 0 to log_snr_min at t = 1.

    Salimans and Ho (arXiv:2202.00512). With bounds at infinity it is `continuous_cosine`.
    """
    b = np.arctan(np.exp(-0.5 * log_snr_max))
    a = np.arctan(np.exp(-0.5 * log_snr_min)) - b
    return -2 * jnp.log(jnp.tan(a * t + b))


def alpha_sigma(
    log_snr: Float[Array, "*batch"],
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """(alpha, sigma) of a log-SNR: alpha^2 = sigmoid(log_snr), sigma^2 = sigmoid(-log_snr)."""
    return jnp.sqrt(jax.nn.sigmoid(log_snr)), jnp.sqrt(jax.nn.sigmoid(-log_snr))
