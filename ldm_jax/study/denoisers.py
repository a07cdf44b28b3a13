"""Small networks on points, and how they are trained: by a perfect denoiser, in rounds, and to be consistent.

Every run draws points, noise and levels from its key and the number of its step alone, so that runs of one seed see the
same whatever their weighting. Adam does not care how large weights are, only how they compare.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from ldm_jax.diffusion.objective import squared_error
from ldm_jax.diffusion.parameterization import add_noise, convert
from ldm_jax.diffusion.schedules import Schedule
from ldm_jax.distill.consistency import consistency_target, noisy, read_x0
from ldm_jax.distill.grid import Grid, Level, Network, index_of
from ldm_jax.distill.progressive import Chain, progressive_target
from ldm_jax.models.layers import timestep_embedding
from ldm_jax.study.mixture import Mixture, network

PREDICTION = "v"
Params = Any
# loss(trained, kept, key) -> number, for one batch; `kept` holds what is not trained.
Loss = Callable[[Params, Any, Array], Array]


class Denoiser(nn.Module):
    """v of noisy points, by residual layers on points and timesteps."""

    dim: int
    width: int = 64
    layers: int = 3

    @nn.compact
    def __call__(
        self, z: Float[Array, "batch dim"], timesteps: Float[Array, " batch"]
    ) -> Float[Array, "batch dim"]:
        """The prediction."""
        time = nn.Dense(self.width)(timestep_embedding(timesteps, 32))
        h = nn.silu(nn.Dense(self.width)(z) + time)
        for _ in range(self.layers):
            h = h + nn.silu(nn.Dense(self.width)(h) + time)
        return nn.Dense(self.dim)(h)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """What a run may cost.

    Attributes:
        steps: of Adam, whose learning rate falls to 0 in a straight line.
        batch: points a step.
        learning_rate: of the first step.
    """

    steps: int
    batch: int
    learning_rate: float


def descend(
    loss: Loss,
    budget: Budget,
    trained: Params,
    kept: Any,
    key: Key[Array, ""],
    *,
    after: Callable[[Any, Params], Any] = lambda kept, trained: kept,
) -> tuple[Params, Any]:
    """(trained, kept) after the budget's steps of Adam, as one scan.

    Args:
        loss: of a batch that it draws from the step's key.
        budget: how many steps, and how large.
        trained: parameters to begin with.
        kept: what the loss takes as it is.
        key: of the run.
        after: (kept, trained) to the next step's `kept`, such as a moving average.
    """
    optimizer = optax.adam(optax.linear_schedule(budget.learning_rate, 0.0, budget.steps))

    def step(carry: tuple[Any, Any, Any], number: Array) -> tuple[tuple[Any, Any, Any], None]:
        trained, kept, state = carry
        gradient = jax.grad(loss)(trained, kept, jax.random.fold_in(key, number))
        updates, state = optimizer.update(gradient, state, trained)
        trained = optax.apply_updates(trained, updates)
        return (trained, after(kept, trained), state), None

    carry = trained, kept, optimizer.init(trained)
    return jax.lax.scan(step, carry, jnp.arange(budget.steps))[0][:2]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Lessons:
    """Programs that train a `Denoiser`, each compiled once.

    Attributes:
        mixture: the data, and as its perfect denoiser the first teacher.
        schedule: of the noise.
        module: the network of every student.
        chain: rounds of progressive distillation.
        grid: of consistency distillation.
        solver: of consistency distillation; see `distill.consistency.SOLVERS`.
        target_decay: of the average that consistency targets come from.
    """

    mixture: Mixture
    schedule: Schedule
    module: Denoiser
    chain: Chain
    grid: Grid
    solver: str = "heun"
    target_decay: float = 0.95

    def ask(self, params: Params) -> Network:
        """The network with these parameters."""
        apply: Any = self.module.apply
        return functools.partial(apply, {"params": params})

    @functools.cached_property
    def perfect(self) -> Network:
        """What knows the mixture."""
        return network(self.mixture, self.schedule, PREDICTION)

    @functools.partial(jax.jit, static_argnames=("self", "budget"))
    def pretrain(self, key: Key[Array, ""], weights: Array, *, budget: Budget) -> Params:
        """A denoiser by regression on the perfect one, which every method starts from.

        Args:
            key: of parameters and draws.
            weights: (steps + 1,) on v at the levels of the chain's first grid, from `grid.loss_weights`.
            budget: of the run.
        """
        grid = self.chain.grid

        def loss(trained: Params, kept: Any, key: Array) -> Array:
            x0, eps, place = self._draw(key, budget.batch)
            index = index_of(place, grid.steps)
            here = grid.at(index)
            z = add_noise(x0, eps, alpha=here.alpha, sigma=here.sigma)
            timesteps = jnp.asarray(here.timestep)
            missed = self.ask(trained)(z, timesteps) - self.perfect(z, timesteps)
            return (weights[index] * (missed**2).mean(axis=1)).mean()

        begin, run = jax.random.split(key)
        return descend(loss, budget, self._init(begin), (), run)[0]

    @functools.partial(jax.jit, static_argnames=("self", "budget", "factor"))
    def round(
        self,
        number: Array,
        start: Params,
        teacher: Params | None,
        weights: Array,
        key: Key[Array, ""],
        *,
        factor: int,
        budget: Budget,
    ) -> Params:
        """The student of one round of progressive distillation.

        Args:
            number: of the round, from 0.
            start: parameters to begin with.
            teacher: of the round; None is the perfect denoiser.
            weights: (steps + 1,) on v at the levels of the chain's first grid, from `grid.loss_weights`.
            key: of the round's draws.
            factor: how many teacher steps one of the student's is worth.
            budget: of the round.
        """

        def loss(trained: Params, teacher: Params | None, key: Array) -> Array:
            x0, eps, place = self._draw(key, budget.batch)
            index = index_of(place, self.chain.steps_of(number))
            path = self.chain.path(number, index, factor=factor)
            here = path[0]
            z = add_noise(x0, eps, alpha=here.alpha, sigma=here.sigma)
            taught = self.perfect if teacher is None else self.ask(teacher)
            target = progressive_target(taught, z, path, prediction=PREDICTION)
            wanted = _as_v(target, z, here)
            output = self.ask(trained)(z, jnp.asarray(here.timestep))
            at = self.chain.position(number, index)
            return (weights[at] * squared_error(output, wanted)).mean()

        return descend(loss, budget, start, teacher, key)[0]

    @functools.partial(jax.jit, static_argnames=("self", "budget"))
    def consistent(
        self, start: Params, weights: Array, key: Key[Array, ""], *, budget: Budget
    ) -> Params:
        """The student of consistency distillation, by the perfect denoiser.

        Args:
            start: parameters to begin with.
            weights: (steps + 1,) on x0 at the levels of `grid`, from `consistency.level_weights`.
            key: of the draws.
            budget: of the run.
        """

        def loss(trained: Params, average: Params, key: Array) -> Array:
            x0, eps, place = self._draw(key, budget.batch)
            index = index_of(place, self.grid.steps)
            here, there = self.grid.at(index), self.grid.at(index - 1)
            z = noisy(x0, eps, here, pure_noise=index == self.grid.steps)
            target = consistency_target(
                self.ask(average),
                self.perfect,
                *(x0, z, here, there),
                solver=self.solver,
                teacher_prediction=PREDICTION,
                prediction=PREDICTION,
                boundary="network",
            )
            output = self.ask(trained)(z, jnp.asarray(here.timestep))
            said = read_x0(output, z, here, prediction=PREDICTION)
            return (weights[index] * squared_error(said, target)).mean()

        def follow(average: Params, trained: Params) -> Params:
            return optax.incremental_update(trained, average, 1 - self.target_decay)

        return descend(loss, budget, start, start, key, after=follow)[0]

    def _draw(self, key: Array, batch: int) -> tuple[Array, Array, Array]:
        """(points, noise, places of the levels, spread evenly over 0 .. 1)."""
        points, noise, place = jax.random.split(key, 3)
        eps = jax.random.normal(noise, (batch, self.mixture.dim))
        even = (jax.random.uniform(place) + jnp.arange(batch) / batch) % 1.0
        return self.mixture.sample(points, batch), eps, even

    def _init(self, key: Array) -> Params:
        z = jnp.zeros((1, self.mixture.dim))
        return self.module.init(key, z, jnp.zeros(1))["params"]


def _as_v(x0: Array, z: Array, here: Level) -> Array:
    return convert(x0, z, source="x0", target=PREDICTION, alpha=here.alpha, sigma=here.sigma)
