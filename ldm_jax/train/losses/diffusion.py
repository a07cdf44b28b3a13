"""The error of the denoiser under its conditions, and what takes the conditions away."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ldm_jax.diffusion.objective import Objective
from ldm_jax.models.layers import upcast
from ldm_jax.train.metrics import Metrics, banded, mean

Tree = TypeVar("Tree")


class Conditions(NamedTuple):
    """What the UNet is told of each clip; None is what it has no slot for.

    Attributes:
        loa: language-of-audio tokens.
        text: T5's states.
        text_mask: of them.
        film: CLAP's vector, for the 48 kHz model.
    """

    loa: Float[Array, "batch tokens width"] | None
    text: Float[Array, "batch length text_width"] | None
    text_mask: Bool[Array, "batch length"] | None
    film: Float[Array, "batch film_width"] | None

    def contexts(self) -> tuple[tuple[Array, Array | None], ...]:
        """(states, mask) in the order of the UNet's slots: LOA, then text."""
        pairs = ((self.loa, None), (self.text, self.text_mask))
        return tuple((states, mask) for states, mask in pairs if states is not None)


def diffusion_loss(
    unet: nn.Module,
    params: Mapping[str, Any],
    objective: Objective,
    latents: Float[Array, "batch t f z"],
    conditions: Conditions,
    *,
    timesteps: Int[Array, " batch"],
    noise: Float[Array, "batch t f z"],
) -> tuple[Float[Array, ""], Metrics]:
    """The mean over clips of w(t) mean((unet(z_t, t, conditions) - target)^2), and figures.

    Args:
        unet: the denoiser.
        params: its parameters.
        objective: schedule, target and weighting.
        latents: clean, scaled.
        conditions: of each clip.
        timesteps: of each clip.
        noise: that is added.
    """
    noisy = objective.noisy(latents, timesteps, noise)
    output: Any = unet.apply(
        {"params": params}, noisy, timesteps, conditions.contexts(), conditions.film
    )
    target = objective.target(latents, timesteps, noise)
    errors = objective.errors(output, target, timesteps)
    bands = len(objective.edges) + 1
    return errors.loss.mean(), {
        "loss/diffusion": mean(errors.loss),
        "loss/log_snr": banded(errors.loss, errors.band, count=bands),
        "error/log_snr": banded(errors.prediction, errors.band, count=bands),
        "loss/x0": mean(errors.x0),
    }


def asked(
    unet: nn.Module,
    params: Mapping[str, Any],
    conditions: Conditions,
    scale: Float[Array, " batch"] | None = None,
) -> Callable[[Array, Array], Array]:
    """The denoiser as a function of noisy latents and timesteps, its output in at least float32.

    Args:
        unet: the denoiser.
        params: its parameters.
        conditions: of each clip, or as `interleaved` makes them of both branches of guidance; the output then has as
            many rows.
        scale: each clip's guidance scale, where that is an input.
    """

    def call(z: Array, timesteps: Array) -> Array:
        inputs = (z, timesteps, conditions.contexts(), conditions.film, scale)
        output: Any = unet.apply({"params": params}, *inputs)
        return upcast(output)

    return call


def interleaved(unconditional: Conditions, conditional: Conditions) -> Conditions:
    """Rows u0 c0 u1 c1 ...: both branches of a clip stay on its device."""

    def pair(first: Array | None, second: Array | None) -> Array | None:
        if first is None or second is None:
            return None
        return jnp.stack([first, second], axis=1).reshape(-1, *first.shape[1:])

    return Conditions(*(pair(*both) for both in zip(unconditional, conditional, strict=True)))


def draw_drop(
    key: Key[Array, ""], rows: int, *, probability: float, per: str, step: Int[Array, ""]
) -> Bool[Array, "*rows"]:
    """Whether the conditions are taken away: of each clip, or as published of the whole batch.

    Never in the very first step, as published, where each network is to be seen at work once.

    Args:
        key: random key.
        rows: of the batch.
        probability: of taking them away.
        per: "clip" or "batch".
        step: updates behind.
    """
    uniform = jax.random.uniform(key, (rows,) if per == "clip" else ())
    return (uniform < probability) & (step > 0)


def either(
    decision: Bool[Array, "*rows"] | None, true: Callable[[], Tree], false: Callable[[], Tree]
) -> Tree:
    """`true()` where `decision`, else `false()`; trees of the same arrays with the batch's rows first.

    A scalar decision computes one of the two, a decision for each row both; None is `false()`.
    """
    if decision is None:
        return false()
    if decision.ndim == 0:
        return jax.lax.cond(decision, true, false)

    def select(one: Array, other: Array) -> Array:
        return jnp.where(decision.reshape(-1, *[1] * (one.ndim - 1)), one, other)

    return jax.tree.map(select, true(), false())
