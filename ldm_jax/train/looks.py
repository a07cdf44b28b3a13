"""Now and then, a look at what has been learnt: losses on held-out clips, sounds and pictures."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.data.stream import device_batches
from ldm_jax.parallel.mesh import on_host, replicated, rows
from ldm_jax.train import examples, prompts
from ldm_jax.train.log import Log
from ldm_jax.train.metrics import Metrics, add, figures, mean
from ldm_jax.train.setup import Setup
from ldm_jax.train.stages.stage import AllParams, Arrays, Given
from ldm_jax.train.state import TrainState
from ldm_jax.train.step import follower_params, rounds_of


class Looking:
    """Validation and previews of a run; every process has to call it at the same steps."""

    def __init__(self, setup: Setup, held: dict[str, Any], frozen: AllParams, log: Log) -> None:
        """Compiles nothing yet."""
        self._setup, self._held, self._frozen, self._log = setup, held, frozen, log
        every = setup.config.every
        self._source = None
        if every.validation or every.preview:
            self._source = examples.source(setup.config, setup.features, training=False)
            if self._source is None:
                log.say(
                    f"no dataset has a split {setup.config.data.validation!r}: there is no validation and no preview"
                )
        self._system = None
        if every.preview and setup.config.prompts.texts and "unet" in setup.stage.trained():
            try:
                self._system = prompts.system(
                    setup.opened,
                    checkpoint=setup.config.checkpoint,
                    weights={
                        name: source
                        for name, source in setup.config.weights.to_dict().items()
                        if name not in setup.stage.kept_as()
                    },
                    trained=dict.fromkeys(setup.stage.averaged()),
                )
            except CheckpointError as error:
                log.say(str(error))
        self._losses = jax.jit(
            functools.partial(_losses, setup), out_shardings=replicated(setup.mesh)
        )

    def __call__(self, number: int, state: TrainState) -> None:
        """What is due after step `number`."""
        every = self._setup.config.every
        params = self.params(state)
        if every.preview and number % every.preview == 0 and self._system is not None:
            self._sample(number, params, state)
        if self._source is None:
            return
        batches = self._batches(max(every.validation_batches, 1))
        if every.validation and number % every.validation == 0:
            total: Metrics = {}
            for index, batch in enumerate(batches[: every.validation_batches]):
                given = (self._frozen, batch, state.constants, state.step, state.followers)
                losses = self._losses(params, self._held, *given, np.int32(index))
                total = add(total, jax.device_get(losses))
            self._log.write(number, {f"val/{name}": x for name, x in figures(total).items()})
        if every.preview and number % every.preview == 0:
            self._preview(number, params, batches[0], state)

    def _preview(self, number: int, params: AllParams, batch: Arrays, state: TrainState) -> None:
        """The stage's own, by the first process; of several processes' arrays it gets copies."""
        inputs = (params, self._frozen, batch, state.constants)
        if jax.process_count() > 1:
            inputs = on_host(inputs)
        if jax.process_index() == 0:
            params, frozen, batch, constants = inputs
            given = Given(frozen, batch, {}, constants, np.int32(number))
            stage, networks = self._setup.stage, self._setup.networks
            self._log.show(number, stage.preview(networks, params, given, jax.random.key(0)))

    def _sample(self, number: int, params: AllParams, state: TrainState) -> None:
        """The fixed prompts, by the first process."""
        config, system = self._setup.config, self._system
        wanted = {name: params[name] for name in self._setup.stage.averaged()}
        host, constants = on_host((wanted, state.constants))
        if jax.process_index() == 0 and system is not None:
            system = self._setup.as_sampled(system, after=number)
            self._log.show(
                number,
                prompts.sample(
                    *(config.prompts, system, host, constants),
                    seconds=config.data.seconds,
                    dtype=config.dtype,
                ),
            )

    def params(self, state: TrainState) -> AllParams:
        """The parameters that would be used: averages, and those of the networks that have none."""
        return self._setup.representation.join({**state.params, **state.ema}, self._held)

    @functools.lru_cache(maxsize=1)  # noqa: B019  # one object a run
    def _batches(self, count: int) -> list[Arrays]:
        made = device_batches(
            self._source,
            batch=self._setup.config.batch,
            sharding=rows(self._setup.mesh),
            ahead=0,
            threads=0,
        )
        return [examples.on_device(next(made)) for _ in range(count)]


def _losses(
    setup: Setup,
    params: AllParams,
    held: dict[str, Any],
    frozen: AllParams,
    batch: Arrays,
    constants: Arrays,
    step: Any,
    followers: dict[str, Any],
    index: Any,
) -> Metrics:
    """Every player's loss and figures with noise that depends on the batch's number alone, and nothing dropped."""
    stage = setup.stage.held_out()
    key = jax.random.fold_in(jax.random.key(setup.config.seed), index)
    draws = stage.draw(setup.networks, key, batch, step)
    number, _ = rounds_of(stage, step, setup.round_steps)
    # After the very last step there is no further round.
    number = jnp.minimum(number, stage.rounds() - 1)
    given = Given(
        *(frozen, batch, draws, constants, step),
        followers=follower_params(stage, followers, held, setup.representation.join),
        round=number,
    )
    out: Metrics = {}
    players = stage.players(setup.networks)
    for player in players:
        loss, metrics = player.loss(params, given)
        prefix = "" if len(players) == 1 else f"{player.name}/"
        out = add(out, {**metrics, f"{prefix}loss": mean(loss)})
    return out
