"""One update, the same for every stage."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from ldm_jax.parallel.sharding import gathered
from ldm_jax.train.metrics import Mean, Metrics, add, mean
from ldm_jax.train.optimizer import guarded
from ldm_jax.train.stages.stage import (
    AllParams,
    Arrays,
    Follower,
    Given,
    Networks,
    Player,
    Stage,
)
from ldm_jax.train.state import TrainState, optimisers

Step = Callable[..., tuple[TrainState, Metrics]]
Join = Callable[[dict[str, Any], dict[str, Any]], AllParams]


def make_step(
    stage: Stage,
    networks: Networks,
    transformations: Mapping[str, optax.GradientTransformation],
    *,
    join: Join,
    ema_decay: float,
    accumulation: int = 1,
    round_steps: int = 0,
) -> Step:
    """The function `step(state, held, frozen, batch, key) -> (state, metrics)`.

    Every player in turn: the mean of the gradients of its loss over `accumulation` microbatches, its optimiser, new
    parameters. Then the moving average e <- d e + (1 - d) p with d = min(ema_decay, (1 + k) / (10 + k)) at step k of
    the round, as in the published training code, and the followers. Where a loss or a gradient is not finite, nothing
    but the counters changes. After the last step of a round the next one begins: see `Stage.rounds`.

    Args:
        stage: what is trained.
        networks: its networks.
        transformations: the optimiser of each player.
        join: makes networks' parameters of what is trained (`state.params`) and what is not (`held`).
        ema_decay: d above.
        accumulation: microbatches; row i of the batch goes into microbatch i modulo this number.
        round_steps: length of a round, where there are several.
    """
    players = stage.players(networks)
    turn = functools.partial(next_round, stage=stage, players=players, rules=transformations)

    def step(
        state: TrainState,
        held: dict[str, Any],
        frozen: AllParams,
        batch: Arrays,
        key: Key[Array, ""],
    ) -> tuple[TrainState, Metrics]:
        draws = stage.draw(networks, jax.random.fold_in(key, state.step), batch, state.step)
        number, age = rounds_of(stage, state.step, round_steps)
        given = Given(
            *(gathered(frozen), batch, draws, state.constants, state.step),
            followers=follower_params(stage, state.followers, held, join),
            round=number,
        )
        params, opt = dict(state.params), dict(state.opt)
        metrics: Metrics = {}
        finite = jnp.bool_(True)
        for player in players:
            loss, grads, figures = _gradients(player, params, held, given, join, accumulation)
            mine = {name: params[name] for name in player.networks}
            norm = optax.tree.norm(grads)
            finite &= jnp.isfinite(loss) & jnp.isfinite(norm)
            updates, opt[player.name] = guarded(transformations[player.name]).update(
                grads, state.opt[player.name], mine, norm=norm, finite=finite
            )
            moved: Any = _where(finite, optax.apply_updates(mine, updates), mine)
            params |= moved
            metrics = add(metrics, figures)
            prefix = "" if len(players) == 1 else f"{player.name}/"
            metrics[f"{prefix}loss"] = mean(loss)
            for name, tree in (("grad", grads), ("update", updates), ("param", moved)):
                metrics[f"{prefix}{name}_norm"] = mean(
                    norm if name == "grad" else optax.tree.norm(tree)
                )
        # What the last player moved is chosen by the whole of `finite`. Chosen twice, it would be computed twice.
        for player in players[:-1]:
            params |= _where(finite, {name: params[name] for name in player.networks}, state.params)
            opt[player.name] = _where(finite, opt[player.name], state.opt[player.name])
        params = _written(params, stage.after(networks, join(params, held), given), finite)
        ema = averaged(state.ema, params, age, decay=ema_decay)
        followers = _followed(stage, state.followers, params)
        skipped = (~finite).astype(jnp.int32)
        after = TrainState(
            step=state.step + 1,
            params=params,
            ema=_where(finite, ema, state.ema),
            opt=opt,
            followers=_where(finite, followers, state.followers),
            constants=state.constants,
            skipped=state.skipped + skipped,
            skipped_in_a_row=(state.skipped_in_a_row + skipped) * skipped,
        )
        # A figure of a skipped update is counted nowhere: one NaN would hide a whole interval.
        metrics = {
            name: Mean(*(jnp.where(finite, x, 0.0) for x in value))
            for name, value in metrics.items()
        }
        metrics["skipped"] = mean(skipped)
        if stage.rounds() > 1:
            due = (after.step % round_steps == 0) & (after.step < stage.rounds() * round_steps)
            after = jax.lax.cond(due, turn, lambda state: state, after)
        return after, metrics

    return step


def rounds_of(stage: Stage, step: Any, round_steps: int) -> tuple[Any, Any]:
    """(number of the round that step `step` belongs to, steps of that round before it); of one round (0, `step`)."""
    if stage.rounds() == 1:
        return 0, step
    return step // round_steps, step % round_steps


def next_round(
    state: TrainState,
    *,
    stage: Stage,
    players: tuple[Player, ...],
    rules: Mapping[str, optax.GradientTransformation],
) -> TrainState:
    """The state in which a round begins that follows one that ended in `state`."""
    params = {**state.params, **state.ema}
    movers = {player.name: player.networks for player in players}
    return dataclasses.replace(
        state,
        params=params,
        opt=optimisers(rules, movers, params),
        followers={name: params[rule.of] for name, rule in stage.followers().items()},
        skipped=jnp.zeros_like(state.skipped),
    )


def follower_params(
    stage: Stage, followers: dict[str, Any], held: dict[str, Any], join: Join
) -> AllParams:
    """Whole parameters of the followers, which are kept as what is trained of the networks that they follow."""
    rules = stage.followers()
    return {
        name: gathered(join({rules[name].of: tree}, held)[rules[name].of])
        for name, tree in followers.items()
    }


def _followed(stage: Stage, followers: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """The followers after an update."""

    def follow(rule: Follower, tree: Any) -> Any:
        if rule.decay == 1:
            return tree
        rate = 1 - rule.decay
        return jax.tree.map(lambda f, p: f + rate * (p - f), tree, params[rule.of])

    rules = stage.followers()
    return {name: follow(rules[name], tree) for name, tree in followers.items()}


def averaged(
    ema: dict[str, Any], params: dict[str, Any], step: Int[Array, ""], *, decay: float
) -> dict[str, Any]:
    """The moving average after `params` joined it; d as in `make_step`."""
    count = step.astype(jnp.float32)
    rate = 1 - jnp.minimum(decay, (1 + count) / (10 + count))
    current = {name: params[name] for name in ema}
    return jax.tree.map(lambda e, p: e + rate.astype(e.dtype) * (p - e), ema, current)


def _gradients(
    player: Player,
    params: dict[str, Any],
    held: dict[str, Any],
    given: Given,
    join: Join,
    accumulation: int,
) -> tuple[Float[Array, ""], dict[str, Any], Metrics]:
    """(loss, gradients for the player's networks, figures)."""
    mine = {name: params[name] for name in player.networks}

    def loss_of(mine: dict[str, Any], given: Given) -> tuple[Float[Array, ""], Metrics]:
        return player.loss(gathered(join({**params, **mine}, held)), given)

    gradient = jax.value_and_grad(loss_of, has_aux=True)
    if accumulation == 1:
        (loss, figures), grads = gradient(mine, given)
        return loss, grads, figures

    leaves, structure = jax.tree.flatten((given.batch, given.draws))
    by_row = [x.ndim > 0 for x in leaves]

    def of_part(part: list[Array]) -> tuple[Float[Array, ""], dict[str, Any], Metrics]:
        rows = iter(part)
        whole = [next(rows) if split else x for x, split in zip(leaves, by_row, strict=True)]
        batch, draws = jax.tree.unflatten(structure, whole)
        (loss, figures), grads = gradient(mine, given._replace(batch=batch, draws=draws))
        return loss, grads, figures

    parts = [
        _microbatches(x, accumulation) for x, split in zip(leaves, by_row, strict=True) if split
    ]
    shapes = jax.eval_shape(of_part, [x[0] for x in parts])
    start = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    (loss, grads, figures), _ = jax.lax.scan(
        lambda total, part: (jax.tree.map(jnp.add, total, of_part(part)), None), start, parts
    )
    return loss / accumulation, jax.tree.map(lambda g: g / accumulation, grads), figures


def _microbatches(x: Array, count: int) -> Array:
    """(count, rows / count, ...), each with rows from all over the batch, and so from all devices."""
    return jnp.moveaxis(x.reshape(x.shape[0] // count, count, *x.shape[1:]), 1, 0)


def _written(params: dict[str, Any], changes: AllParams, finite: Bool[Array, ""]) -> dict[str, Any]:
    """`params` with what `changes`, a partial tree, has in place of it if `finite`; what is held stays as it is."""
    if not isinstance(changes, Mapping):
        return jnp.where(finite, changes, params)
    known = {name: value for name, value in changes.items() if name in params}
    return params | {name: _written(params[name], value, finite) for name, value in known.items()}


def _where(condition: Bool[Array, ""], tree: Any, other: Any) -> Any:
    """`tree` or the same leaves of `other`, a dict of which may have more entries."""
    if isinstance(tree, dict) and isinstance(other, dict):
        other = {name: other[name] for name in tree}
    return jax.tree.map(functools.partial(jnp.where, condition), tree, other)
