"""What changes from one update to the next, and all that a checkpoint has to hold."""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax


@flax.struct.dataclass
class TrainState:
    """A pytree. Randomness is no part of it: step k draws from the run's key folded with k.

    Attributes:
        step: batches seen; the next one has this number.
        params: what is trained, by network.
        ema: its moving average, for the networks that are used afterwards.
        opt: the optimisers' states, by player.
        followers: networks that follow trained ones, by name; see `Stage.followers`.
        constants: what `Stage.measure` found on the first batch.
        skipped: updates of this round that were left out because something was not finite.
        skipped_in_a_row: those since the last one that was.
    """

    step: Any
    params: dict[str, Any]
    ema: dict[str, Any]
    opt: dict[str, Any]
    followers: dict[str, Any]
    constants: dict[str, Any]
    skipped: Any
    skipped_in_a_row: Any


def initial(
    params: dict[str, Any],
    *,
    averaged: tuple[str, ...],
    transformations: Mapping[str, optax.GradientTransformation],
    players: Mapping[str, tuple[str, ...]],
    constants: dict[str, Any],
    followers: Mapping[str, str] | None = None,
) -> TrainState:
    """The state before the first update.

    Args:
        params: what is trained, by network.
        averaged: networks whose average is kept; it starts at their parameters.
        transformations: the optimiser of each player.
        players: the networks that each moves.
        constants: of the run.
        followers: the network that each follows; they start as it does.
    """
    # Nothing may be the same buffer twice: all are donated.
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        ema=jax.tree.map(jnp.copy, {name: params[name] for name in averaged}),
        opt=optimisers(transformations, players, params),
        followers={
            name: jax.tree.map(jnp.copy, params[of]) for name, of in (followers or {}).items()
        },
        constants=constants,
        skipped=jnp.zeros((), jnp.int32),
        skipped_in_a_row=jnp.zeros((), jnp.int32),
    )


def optimisers(
    transformations: Mapping[str, optax.GradientTransformation],
    players: Mapping[str, tuple[str, ...]],
    params: Mapping[str, Any],
) -> dict[str, Any]:
    """The state of each player's optimiser before its first update."""
    return {
        name: transformations[name].init({network: params[network] for network in networks})
        for name, networks in players.items()
    }
