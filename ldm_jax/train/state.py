"""What changes from one update to the next, and all that a checkpoint has to hold."""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int


@flax.struct.dataclass
class TrainState:
    """A pytree. Randomness is no part of it: step k draws from the run's key folded with k.

    Attributes:
        step: batches seen; the next one has this number.
        params: what is trained, by network.
        ema: its moving average, for the networks that are used afterwards.
        opt: the optimisers' states, by player.
        constants: what `Stage.measure` found on the first batch.
        skipped: updates that were left out because something was not finite.
        skipped_in_a_row: those since the last one that was.
    """

    step: Int[Array, ""]
    params: dict[str, Any]
    ema: dict[str, Any]
    opt: dict[str, Any]
    constants: dict[str, Any]
    skipped: Int[Array, ""]
    skipped_in_a_row: Int[Array, ""]


def initial(
    params: dict[str, Any],
    *,
    averaged: tuple[str, ...],
    transformations: Mapping[str, optax.GradientTransformation],
    players: Mapping[str, tuple[str, ...]],
    constants: dict[str, Any],
) -> TrainState:
    """The state before the first update.

    Args:
        params: what is trained, by network.
        averaged: networks whose average is kept; it starts at their parameters.
        transformations: the optimiser of each player.
        players: the networks that each moves.
        constants: of the run.
    """
    zero = jnp.zeros((), jnp.int32)
    return TrainState(
        step=zero,
        params=params,
        # A copy: the same buffer cannot be donated twice.
        ema=jax.tree.map(jnp.copy, {name: params[name] for name in averaged}),
        opt={
            name: transformations[name].init({network: params[network] for network in networks})
            for name, networks in players.items()
        },
        constants=constants,
        skipped=zero,
        skipped_in_a_row=jnp.copy(zero),
    )
