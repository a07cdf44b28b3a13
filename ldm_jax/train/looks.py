"""Now and then, a look at what has been learnt: losses on held-out clips, sounds and pictures."""

import functools
from typing import Any

import jax
import numpy as np

from ldm_jax.data.stream import device_batches
from ldm_jax.parallel.mesh import replicated, rows
from ldm_jax.train import examples
from ldm_jax.train.log import Log
from ldm_jax.train.metrics import Metrics, add, figures, mean
from ldm_jax.train.setup import Setup
from ldm_jax.train.stages.stage import AllParams, Arrays, Given
from ldm_jax.train.state import TrainState


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
        self._losses = jax.jit(
            functools.partial(_losses, setup), out_shardings=replicated(setup.mesh)
        )

    def __call__(self, number: int, state: TrainState) -> None:
        """What is due after step `number`."""
        every = self._setup.config.every
        if self._source is None:
            return
        params = self.params(state)
        batches = self._batches(max(every.validation_batches, 1))
        if every.validation and number % every.validation == 0:
            total: Metrics = {}
            for index, batch in enumerate(batches[: every.validation_batches]):
                given = (self._frozen, batch, state.constants, state.step)
                total = add(total, jax.device_get(self._losses(params, *given, np.int32(index))))
            self._log.write(number, {f"val/{name}": x for name, x in figures(total).items()})
        if every.preview and number % every.preview == 0:
            given = Given(self._frozen, batches[0], {}, state.constants, state.step)
            shown = self._setup.stage.preview(
                self._setup.networks, params, given, jax.random.key(0)
            )
            data = self._setup.config.data
            self._log.show(number, shown, seconds_per_frame=0.01)
            del data

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
    frozen: AllParams,
    batch: Arrays,
    constants: Arrays,
    step: Any,
    index: Any,
) -> Metrics:
    """Every player's loss and figures with noise that depends on the batch's number alone."""
    key = jax.random.fold_in(jax.random.key(setup.config.seed), index)
    draws = setup.stage.draw(setup.networks, key, batch, step)
    given = Given(frozen, batch, draws, constants, step)
    out: Metrics = {}
    players = setup.stage.players(setup.networks)
    for player in players:
        loss, metrics = player.loss(params, given)
        prefix = "" if len(players) == 1 else f"{player.name}/"
        out = add(out, {**metrics, f"{prefix}loss": mean(loss)})
    return out
