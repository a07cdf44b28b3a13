"""A distance between two x0 in a teacher's eyes: of what its UNet makes of both inside.

SoundCTM (Saito et al., arXiv:2405.18503) takes it in place of LPIPS, which knows pictures and not latents of sound.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from ldm_jax.diffusion import parameterization, tables
from ldm_jax.distill.grid import Level
from ldm_jax.models.layers import upcast
from ldm_jax.models.unet_stage import Stage

# features(z (batch, *latent), timesteps (batch,)) -> one (batch, *cells, channels) a layer
Features = Callable[[Array, Array], Sequence[Array]]
# Which stages are looked at; of what comes after the last of them nothing is computed.
PARTS: dict[str, tuple[str, ...]] = {
    "all": ("down_blocks", "mid_block", "up_blocks"),
    "down": ("down_blocks",),
}
_EPSILON = 1e-20


def stage_features(
    network: nn.Module, variables: Any, *inputs: Any, parts: str = "all", **options: Any
) -> tuple[Float[Array, "rows time freq channels"], ...]:
    """What each stage of a UNet hands on, resampled where it resamples: the features of SoundCTM.

    The parameters get no gradient.

    Args:
        network: a `UNet`, or any module with one inside.
        variables: of `network`.
        *inputs: of its call: noisy latents, timesteps, contexts.
        parts: "all", or "down" for the half on the way down, at half the cost.
        **options: further inputs.

    Raises:
        ValueError: no such parts; a network without stages.
    """
    wanted = tables.choose(PARTS, parts, what="The part of the UNet")
    methods = ("__call__", "downsample", "upsample")
    _, state = network.apply(
        jax.lax.stop_gradient(variables),
        *inputs,
        **options,
        capture_intermediates=lambda module, method: (
            isinstance(module, Stage) and method in methods
        ),
        mutable=["intermediates"],
    )
    found = _by_stage(state.get("intermediates") or {})
    made = tuple(output for name, output in found if name.startswith(wanted))
    if not made:
        raise ValueError(f"{type(network).__name__} has no stages of a UNet to take features from.")
    return made


def feature_distance(
    features: Features,
    output: Shaped[Array, "batch *latent"],
    target: Shaped[Array, "batch *latent"],
    noise: Shaped[Array, "batch *latent"],
    level: Level,
) -> Float[Array, " batch"]:
    """Sum over layers of mean (f(z) / |f(z)| - f(z') / |f(z')|)^2, |.| over the channels of each cell.

    z and z' are `output` and `target` with the same noise at `level`, a level at which the teacher was trained. Only
    `output` gets a gradient.

    `features` is called twice, and not once with both in one batch: the backward pass then has only the rows that
    need it. That is two forward passes and one backward, with the activations of one kept.

    Args:
        features: of the teacher, such as `stage_features` with everything but latents and timesteps given.
        output: a student's x0.
        target: what it is to be.
        noise: standard normal.
        level: to which both are brought.
    """
    found, known = (
        features(
            parameterization.add_noise(
                upcast(x0), upcast(noise), alpha=level.alpha, sigma=level.sigma
            ),
            jnp.broadcast_to(level.timestep, x0.shape[:1]),
        )
        for x0 in (output, jax.lax.stop_gradient(target))
    )
    pairs = zip(found, jax.lax.stop_gradient(tuple(known)), strict=True)
    return sum((_mean_square(_unit(a) - _unit(b)) for a, b in pairs), start=jnp.zeros(()))


def _by_stage(tree: Mapping[str, Any]) -> Iterator[tuple[str, Array]]:
    """(name, output) of every stage, in the order of their names, which is that of a UNet's calls."""
    for name, inside in sorted(tree.items()):
        if isinstance(inside, Mapping) and "__call__" not in inside:
            yield from _by_stage(inside)
        elif isinstance(inside, Mapping):
            outputs = inside.get("downsample") or inside.get("upsample") or inside["__call__"]
            yield name, outputs[-1]


def _unit(x: Array) -> Array:
    """Of length 1 over channels; where x is 0 it stays 0, with a finite gradient."""
    x = upcast(x)
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + _EPSILON)


def _mean_square(x: Array) -> Array:
    return jnp.mean(jnp.square(x), axis=tuple(range(1, x.ndim)))
