"""All that a run is made of before its first step: networks, mesh, representation, optimisers, the compiled step."""

import dataclasses
import functools
import zlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from ldm_jax.convert.checkpoint import Checkpoint, abstract_params, completed
from ldm_jax.convert.native import describe
from ldm_jax.data.features import Feature
from ldm_jax.parallel.mesh import replicated
from ldm_jax.parallel.sharding import abstract, batch_shardings, shardings
from ldm_jax.train import examples, record
from ldm_jax.train.config import Training
from ldm_jax.train.representation import Representation
from ldm_jax.train.stages.stage import AllParams, Arrays, Stage
from ldm_jax.train.state import TrainState, initial
from ldm_jax.train.step import Step, make_step
from ldm_jax.train.weights import Opened


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """A run before its first step.

    Attributes:
        config: as it was checked.
        opened: the networks and where their parameters come from.
        networks: all of them in their compute types.
        features: what a batch from sound holds.
        mesh: (data, fsdp, tensor).
        representation: what of the parameters is trained.
        transformations: the optimiser of each player.
    """

    config: Training
    opened: Opened
    networks: Mapping[str, nn.Module]
    features: tuple[Feature, ...]
    mesh: Mesh
    representation: Representation
    transformations: Mapping[str, optax.GradientTransformation]

    @property
    def stage(self) -> Stage:
        """What is trained."""
        return self.config.stage

    @property
    def key(self) -> Any:
        """The run's key, from which every step's is folded."""
        return jax.random.key(self.config.seed)

    @property
    def round_steps(self) -> int:
        """How many steps a round has; see `Stage.rounds`."""
        return self.config.steps // self.stage.rounds()

    def as_sampled(self, system: Checkpoint, *, after: int) -> Any:
        """`system`, to be sampled as what is trained has to be after so many steps."""
        number = max(after - 1, 0) // self.round_steps
        return dataclasses.replace(system, **self.sampled(round=number))

    def sampled(self, *, round: int) -> dict[str, Any]:
        """Fields of `Checkpoint`: how what is trained is to be sampled after a round; see `Stage.sampled`."""
        return record.sampled(self.config, self.networks, round=round)

    @functools.cached_property
    def descriptions(self) -> dict[str, Any]:
        """All networks as JSON."""
        return {name: describe(module) for name, module in self.networks.items()}

    @functools.cached_property
    def step(self) -> Step:
        """The step as a plain function; see `make_step`."""
        return make_step(
            self.stage,
            self.networks,
            self.transformations,
            join=self.representation.join,
            ema_decay=self.config.ema,
            accumulation=self.config.accumulation,
            round_steps=self.round_steps,
        )

    def compiled(self, batch: Arrays) -> Any:
        """The step under `jit`, the state donated, for batches like `batch` (arrays or their shapes).

        Returned with shardings that the state keeps, so that there is one compilation.
        """
        state, _, _ = self.abstract(batch)
        placed = jax.tree.map(lambda x: x.sharding, state)
        return jax.jit(self.step, donate_argnums=0, out_shardings=(placed, replicated(self.mesh)))

    def abstract(self, batch: Arrays) -> tuple[TrainState, dict[str, Any], AllParams]:
        """(state, held, frozen) as shapes with shardings, nothing computed."""
        trained = {name: abstract_params(self.networks[name]) for name in self.stage.trained()}
        frozen = {
            name: _cast(abstract_params(self.networks[name]), self._frozen_dtype)
            for name in self.stage.frozen()
        }
        constants = jax.eval_shape(
            functools.partial(self.stage.measure, self.networks), frozen, _shapes(batch)
        )
        state, held = jax.eval_shape(self._begin, trained, constants, self.key)
        return tuple(  # type: ignore[return-value]  # three trees in, three trees out
            abstract(tree, shardings(tree, self.mesh)) for tree in (state, held, frozen)
        )

    def abstract_batch(self, batch: Arrays) -> Arrays:
        """`batch` as shapes with shardings, as many rows as the config says."""
        shapes = {
            name: jax.ShapeDtypeStruct((self.config.batch, *x.shape[1:]), _canonical(x.dtype))
            for name, x in examples.on_device(batch).items()
        }
        return abstract(shapes, batch_shardings(shapes, self.mesh))

    def frozen(self) -> AllParams:
        """Parameters of the frozen networks on the mesh, in their compute type."""
        host = {name: self.opened.params[name] for name in self.stage.frozen()}
        cast = jax.tree.map(lambda x: np.asarray(x, self._frozen_dtype), host)
        return jax.device_put(cast, shardings(cast, self.mesh))

    def begin(self, batch: Arrays, constants: Arrays) -> tuple[TrainState, dict[str, Any]]:
        """(state, held) of a run that starts: parameters given or fresh, made where they will lie."""
        state, held, _ = self.abstract(batch)
        places = jax.tree.map(lambda x: x.sharding, (state, held))
        make = jax.jit(self._begin, out_shardings=places)
        return make(self._given(), constants, self.key)

    def held(self, batch: Arrays) -> dict[str, Any]:
        """`held` alone, for a run that goes on."""
        state, held, _ = self.abstract(batch)
        if not jax.tree.leaves(held):
            return held
        places = jax.tree.map(lambda x: x.sharding, held)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state.constants)
        make = jax.jit(lambda *inputs: self._begin(*inputs)[1], out_shardings=places)
        return make(self._given(), zeros, self.key)

    def constants(self, frozen: AllParams, batch: Arrays) -> Arrays:
        """What the stage measures on the first batch."""
        measure = jax.jit(
            functools.partial(self.stage.measure, self.networks),
            out_shardings=replicated(self.mesh),
        )
        return measure(frozen, batch)

    @property
    def _frozen_dtype(self) -> Any:
        return jnp.dtype(self.config.frozen_dtype or self.config.dtype)

    def _given(self) -> AllParams:
        """Parameters that trained networks start from, where there are any, on the mesh."""
        host = {
            name: jax.tree.map(lambda x: np.asarray(x, np.float32), self.opened.params[name])
            for name in self.stage.trained()
            if self.opened.params.get(name) is not None
        }
        return jax.device_put(host, shardings(host, self.mesh))

    def _begin(
        self, given: AllParams, constants: Arrays, key: Any
    ) -> tuple[TrainState, dict[str, Any]]:
        params = {
            name: completed(given.get(name, {}), self.networks[name], _named(key, name))
            for name in self.stage.trained()
        }
        trained, held = self.representation.split(params, _named(key, "lora"))
        players = {player.name: player.networks for player in self.stage.players(self.networks)}
        state = initial(
            trained,
            averaged=self.stage.averaged(),
            transformations=self.transformations,
            players=players,
            constants=constants,
            followers={name: rule.of for name, rule in self.stage.followers().items()},
        )
        return state, held


def _named(key: Any, name: str) -> Any:
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def _cast(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), tree)


def _shapes(batch: Arrays) -> Arrays:
    return {
        name: jax.ShapeDtypeStruct(x.shape, _canonical(x.dtype))
        for name, x in examples.on_device(batch).items()
    }


def _canonical(dtype: Any) -> Any:
    """int64 becomes int32 on devices."""
    return jax.dtypes.canonicalize_dtype(dtype)
