"""The cells of a `ToyStudy`: train small networks, draw from them, hold them against the truth."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ldm_jax.diffusion import sampling, schedules, weightings
from ldm_jax.diffusion.samplers import students
from ldm_jax.diffusion.sampling import Plan
from ldm_jax.distill.consistency import level_weights, read_x0
from ldm_jax.distill.grid import Grid, Level, loss_weights, uniform_grid
from ldm_jax.distill.progressive import chain
from ldm_jax.study.cells import Cell, Measured
from ldm_jax.study.denoisers import PREDICTION, Budget, Denoiser, Lessons, Params
from ldm_jax.study.mixture import nested
from ldm_jax.study.settings import ToyStudy, by_name
from ldm_jax.study.table import Quantity
from ldm_jax.study.truth import Questions, Truth, error_by_level

# Distance from the exact flow, which re-noising leaves, and from the distribution.
QUANTITIES = (
    Quantity(name="map_error", label="map error"),
    Quantity(name="sliced_w2", label="sliced W2"),
)


class Toy:
    """What cells have in common: data, programs, truth, and of every seed the network that its students begin as."""

    def __init__(self, study: ToyStudy) -> None:
        """Lays out grids; nothing is computed yet."""
        schedule = schedules.schedule(study.schedule)
        mixture = nested(dim=study.dim, clusters=study.clusters, within=study.within)
        self._study, self._schedule = study, schedule
        self._chain = chain(schedule, study.teacher_steps, study.students)
        self._grid = uniform_grid(schedule, study.points)
        self._lessons = Lessons(
            mixture=mixture,
            schedule=schedule,
            module=Denoiser(dim=study.dim, width=study.width, layers=study.layers),
            chain=self._chain,
            grid=self._grid,
        )
        self._truth = Truth(
            mixture=mixture,
            edm_sigma=float(schedule.edm_sigma[-1]),
            count=study.noises,
            per_level=study.per_level,
        )
        self._began = functools.cache(self._pretrained)
        self._asked = functools.cache(self._questions)
        self._draw = jax.jit(self._sample)
        self._say = jax.jit(self._x0)

    def measure(self, cell: Cell) -> list[Measured]:
        """Trains the cell's students and measures each."""
        kinds: dict[str, Callable[[Cell], list[Measured]]] = {
            "progressive": self._progressive,
            "consistency": self._consistency,
            "teacher": self._teacher,
            "bounds": self._bounds,
        }
        return kinds[cell.method](cell)

    def _progressive(self, cell: Cell) -> list[Measured]:
        weighting = weightings.weighting(by_name(self._study)[cell.weighting])
        weights = loss_weights(self._chain.grid, weighting, PREDICTION)
        student, found = self._began(cell.seed), []
        for number, factor in enumerate(self._chain.factors):
            student = self._lessons.round(
                jnp.asarray(number),
                student,
                student if number else None,
                jnp.asarray(weights, jnp.float32),
                self._key(cell.seed, 1 + number),
                factor=factor,
                budget=self._budget(self._study.round_steps),
            )
            found.append(self._stepped(student, self._chain.student_grid(number)))
        return found

    def _consistency(self, cell: Cell) -> list[Measured]:
        weighting = weightings.weighting(by_name(self._study)[cell.weighting])
        student = self._lessons.consistent(
            self._began(cell.seed),
            jnp.asarray(level_weights(self._grid, weighting), jnp.float32),
            self._key(cell.seed, 100),
            budget=self._budget(self._study.consistency_steps),
        )
        errors = self._errors(student, self._asked(self._grid.steps, end=True), self._grid)
        found = []
        for steps in self._study.few_steps:
            times = students.few_step_times(self._grid.timesteps, steps)
            plan = students.consistency_plan(self._schedule, timesteps=times, prediction=PREDICTION)
            figures = self._truth.figures(self._drawn(student, plan))
            if steps > 1:
                del figures["map_error"]  # fresh noise leads elsewhere
            levels = tuple(map(float, self._grid.log_snr[1:]))
            found.append(Measured(steps=steps, figures=figures, log_snr=levels, errors=errors))
        return found

    def _teacher(self, cell: Cell) -> list[Measured]:
        """The network of a seed that all its students begin as, sampled like a progressive student."""
        steps = (self._study.teacher_steps, *self._study.students)
        return [self._stepped(self._began(cell.seed), self._grid_of(n)) for n in steps]

    def _bounds(self, cell: Cell) -> list[Measured]:
        """What no student can beat, one that knows two moments alone, and the perfect denoiser in so many steps."""
        bounds = {"exact flow": self._truth.floor(), "Gaussian": self._truth.ceiling()}
        found = [Measured(what=name, steps=0, figures=known) for name, known in bounds.items()]
        for steps in (self._study.teacher_steps, *self._study.students):
            figures = self._truth.figures(self._drawn(None, self._plan(steps)))
            found.append(Measured(what="perfect denoiser", steps=steps, figures=figures))
        return found

    def _stepped(self, params: Params, grid: Grid) -> Measured:
        errors = self._errors(params, self._asked(grid.steps, end=False), grid)
        return Measured(
            steps=grid.steps,
            figures=self._truth.figures(self._drawn(params, self._plan(grid.steps))),
            log_snr=tuple(map(float, grid.log_snr[1:])),
            errors=errors,
        )

    def _pretrained(self, seed: int) -> Params:
        weighting = weightings.weighting(self._study.pretraining)
        weights = loss_weights(self._chain.grid, weighting, PREDICTION)
        return self._lessons.pretrain(
            self._key(seed, 0),
            jnp.asarray(weights, jnp.float32),
            budget=self._budget(self._study.pretraining_steps),
        )

    def _grid_of(self, steps: int) -> Grid:
        if steps == self._chain.grid.steps:
            return self._chain.grid
        return self._chain.student_grid(self._chain.students.index(steps))

    def _questions(self, steps: int, *, end: bool) -> Questions:
        grid = self._grid if end else self._grid_of(steps)
        return self._truth.questions(grid, end=end)

    def _errors(self, params: Params, asked: Questions, grid: Grid) -> tuple[float, ...]:
        z = jnp.asarray(asked.z, jnp.float32)
        said = self._say(params, z, grid.at(jnp.asarray(asked.index)))
        return tuple(map(float, error_by_level(np.asarray(said), asked)))

    def _plan(self, steps: int) -> Plan:
        return students.progressive_plan(self._schedule, steps=steps, prediction=PREDICTION)

    def _drawn(self, params: Params | None, plan: Plan) -> Float[np.ndarray, "noises dim"]:
        noise = jnp.asarray(self._truth.noise, jnp.float32)
        key = jax.random.key(self._truth.seed)
        fresh = jax.random.normal(key, (plan.calls, *noise.shape)) if plan.stochastic else None
        return np.asarray(self._draw(params, plan, noise, fresh))

    def _sample(self, params: Params | None, plan: Plan, noise: Array, fresh: Any) -> Array:
        network = self._lessons.perfect if params is None else self._lessons.ask(params)

        def denoiser(z: Array, timestep: Array, extra: Any) -> Array:
            return network(z, jnp.full(len(z), timestep))

        return sampling.sample(denoiser, plan, noise, call_noise=fresh)

    def _x0(self, params: Params, z: Array, level: Level) -> Array:
        output = self._lessons.ask(params)(z, jnp.asarray(level.timestep))
        return read_x0(output, z, level, prediction=PREDICTION)

    def _budget(self, steps: int) -> Budget:
        study = self._study
        return Budget(steps=steps, batch=study.batch, learning_rate=study.learning_rate)

    def _key(self, seed: int, what: int) -> Array:
        return jax.random.fold_in(jax.random.key(seed), what)
