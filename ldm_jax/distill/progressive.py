"""Progressive distillation: one step of a student learns what k steps of its teacher do.

Salimans and Ho (arXiv:2202.00512), algorithm 2, where k = 2.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ldm_jax.diffusion import parameterization
from ldm_jax.diffusion.parameterization import convert, per_clip
from ldm_jax.diffusion.schedules import Schedule
from ldm_jax.distill.grid import Grid, Index, Level, Network, progressive_grid

Round = int | Int[Array | np.ndarray, ""]
Latents = Float[Array, "batch *latent"]


def ddim_step(
    network: Network, z: Latents, here: Level, there: Level, *, prediction: str
) -> tuple[Latents, Latents]:
    """(z', x0) of one deterministic DDIM step, z' = alpha' x0 + sigma' eps (arXiv:2010.02502).

    Args:
        network: the teacher or student, asked once, at `here`.
        z: latents at level `here`.
        here: not the clean end.
        there: a cleaner level, or the clean end, where z' is x0.
        prediction: what `network` predicts, "eps", "x0" or "v". At zero signal eps determines no step.

    Raises:
        ValueError: no such prediction.
    """
    output = network(z, jnp.broadcast_to(here.timestep, z.shape[:1]))
    x0, eps = (
        convert(output, z, source=prediction, target=kind, alpha=here.alpha, sigma=here.sigma)
        for kind in ("x0", "eps")
    )
    return parameterization.add_noise(x0, eps, alpha=there.alpha, sigma=there.sigma), x0


def progressive_target(
    network: Network, z: Latents, path: Sequence[Level], *, prediction: str
) -> Latents:
    """The x0 with which one DDIM step from path[0] to path[-1] lands where the teacher's k steps do.

    With (alpha, sigma) at the beginning and (alpha'', sigma'') at the end of the k steps from z to z'',

        x0 = (z'' - r z) / (alpha'' - r alpha),  r = sigma'' / sigma

    which is z'' itself at the clean end. Written out, it is the mean of what the teacher took for x0
    in its steps, each weighted with the step's increase in alpha / sigma, and so it is computed here: nothing
    cancels where levels lie close together.

    Args:
        network: the teacher, asked k times, at all levels of the path but the last.
        z: latents at path[0].
        path: k + 1 levels, ever cleaner; only the last may be clean.
        prediction: what the teacher predicts.

    Raises:
        ValueError: no such prediction; a path of fewer than two levels.
    """
    if len(path) < 2:
        raise ValueError(f"A path has at least two levels, but got {len(path)}.")
    end = path[-1]
    total, weighted = jnp.zeros((), z.dtype), jnp.zeros_like(z)
    for number, (here, there) in enumerate(itertools.pairwise(path), start=1):
        z, x0 = ddim_step(network, z, here, there, prediction=prediction)
        # sigma'' times the increase in alpha / sigma; 1 at the clean end, where sigma'' / sigma' is 0 / 0.
        left = 1.0 if number == len(path) - 1 else end.sigma / there.sigma
        weight = per_clip(left * (there.alpha - there.sigma / here.sigma * here.alpha), z)
        total, weighted = total + weight, weighted + weight * x0
    return weighted / total


@dataclasses.dataclass(frozen=True, eq=False)
class Chain:
    """Rounds of progressive distillation, each student the next round's teacher.

    All rounds read one table of levels, that of the first teacher, of which every student's grid is each n-th
    level. Rounds of one factor so share a compiled step, with the round as an argument.

    Attributes:
        grid: of the first teacher.
        students: steps of each round's student, each dividing the one before.
    """

    grid: Grid
    students: tuple[int, ...]

    @property
    def rounds(self) -> int:
        """How many."""
        return len(self.students)

    @property
    def teachers(self) -> tuple[int, ...]:
        """Steps of each round's teacher."""
        return (self.grid.steps, *self.students[:-1])

    @property
    def factors(self) -> tuple[int, ...]:
        """How many steps of its teacher each round's student takes in one; this many calls a target costs."""
        pairs = zip(self.teachers, self.students, strict=True)
        return tuple(teacher // student for teacher, student in pairs)

    def student_grid(self, number: int) -> Grid:
        """The grid of one round's student, on the host."""
        kept = slice(None, None, self.grid.steps // self.students[number])
        return Grid(self.grid.timesteps[kept], self.grid.alpha[kept], self.grid.sigma[kept])

    def steps_of(self, number: Round) -> Int[Array, ""]:
        """Steps of a round's student; the round, counted from 0, may be traced."""
        return jnp.asarray(self.students, jnp.int32)[number]

    def position(self, number: Round, index: Index) -> Int[Array, "*batch"]:
        """Index in `grid`, and in tables laid over it, of an index 0 .. steps of a round's student."""
        return jnp.asarray(index) * (self.grid.steps // self.steps_of(number))

    def path(
        self,
        number: Round,
        index: Index,
        *,
        factor: int,
        dtype: Any = jnp.float32,
    ) -> tuple[Level, ...]:
        """`factor` + 1 levels, from a student's index 1 .. steps to the one before by its teacher's steps.

        Args:
            number: of the round, from 0; may be traced.
            index: of the student's grid; may be traced.
            factor: the round's, from `factors`.
            dtype: of the levels.
        """
        return self.teacher_path(number, index * factor, factor=factor, dtype=dtype)

    def teacher_path(
        self,
        number: Round,
        index: Index,
        *,
        factor: int,
        dtype: Any = jnp.float32,
    ) -> tuple[Level, ...]:
        """`path` from any index 1 .. steps of the *teacher's* grid, also between the student's levels.

        A student for the stochastic sampler (`samplers.students`) is asked there too. Where fewer than `factor`
        teacher steps are left, the path begins with steps of length 0, that change neither z nor the target.
        """
        stride = self.grid.steps // self.steps_of(number) // factor
        end = jnp.maximum(index - factor, 0)
        steps = (jnp.minimum(index, end + factor - j) for j in range(factor + 1))
        return tuple(self.grid.at(step * stride, dtype) for step in steps)


def chain(
    schedule: Schedule, teacher_steps: int, students: Sequence[int], *, pure_noise: bool = False
) -> Chain:
    """Lays out rounds such as 200 -> 100 -> 50 -> 25, or 25 -> 5 -> 1.

    Args:
        schedule: of the first teacher.
        teacher_steps: DDIM steps in which the first teacher samples.
        students: steps of each round's student.
        pure_noise: see `student_grid.progressive`.

    Raises:
        ValueError: no students; fewer than 1 step; a student that is no proper divisor of the one before; more
            steps than timesteps.
    """
    grid = progressive_grid(schedule, teacher_steps, pure_noise=pure_noise)
    if not students:
        raise ValueError("A chain needs at least one student's number of steps, but got none.")
    for teacher, student in itertools.pairwise((teacher_steps, *students)):
        if not (1 <= student < teacher and teacher % student == 0):
            fitting = [n for n in range(1, teacher) if teacher % n == 0]
            fit = f"one of {', '.join(map(str, fitting))}" if fitting else "nothing shorter"
            raise ValueError(
                f"The steps of a student must divide its teacher's {teacher}, so {fit} would fit, "
                f"but got {student}."
            )
    return Chain(grid, tuple(students))
