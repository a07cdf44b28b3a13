"""Consistency distillation: a student says of every point of a teacher's trajectory where it ends.

Song et al. (arXiv:2303.01469); for text to audio ConsistencyTTA (Bai et al., arXiv:2309.10740). One step on one clip:

    z at level n            `noisy`
    z' at level n - 1       the teacher's step from z, one of `SOLVERS`
    target                  what an average of the student says of z': `consistency_target`
    loss                    weight of n times a distance of what the student says of z from the target

Levels are a `Grid`'s, 1 .. steps, and a loss is always on x0.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from ldm_jax.diffusion import parameterization, tables
from ldm_jax.diffusion.parameterization import convert, per_clip
from ldm_jax.diffusion.weightings import Weighting
from ldm_jax.distill.grid import Grid, Level, Network, Table, check_weights, loss_weights
from ldm_jax.distill.progressive import ddim_step
from ldm_jax.models.layers import upcast

Latents = Float[Array, "batch *latent"]
Solver = Callable[..., Array]
Reading = Callable[..., Array]

# A grid's last timestep may miss 0 by rounding, as Karras' does.
_ZERO_TIMESTEP = 1e-3


def heun_step(
    network: Network, z: Latents, here: Level, there: Level, *, prediction: str
) -> Latents:
    """One step of Heun's method along the probability flow (Karras et al., arXiv:2206.00364, algorithm 1).

    In y = z / alpha over s = sigma / alpha the flow is dy/ds = (y - x0(y, s)) / s = eps, so that

        y1 = y + (s' - s) eps(y, s)        y' = y + (s' - s) (eps(y, s) + eps(y1, s')) / 2

    and with r = alpha' / alpha a step along eps is z' = r z + (sigma' - r sigma) eps. Towards clean data, where
    there is no second slope, z' is z1: the second call then repeats the first.

    Args:
        network: the teacher, asked twice, with all conditions and guidance.
        z: latents at level `here`.
        here: alpha and sigma above 0.
        there: a cleaner level, for each clip its own.
        prediction: what `network` predicts, "eps", "x0" or "v".

    Returns:
        z' at `there`.

    Raises:
        ValueError: no such prediction.
    """

    def slope(z: Latents, level: Level) -> Latents:
        return convert(
            _ask(network, z, level),
            z,
            source=prediction,
            target="eps",
            alpha=level.alpha,
            sigma=level.sigma,
        )

    def along(slope: Latents) -> Latents:
        return per_clip(ratio, z) * z + per_clip(there.sigma - ratio * here.sigma, z) * slope

    ratio = there.alpha / here.alpha
    first = slope(z, here)
    level = Level(*(jnp.where(there.sigma == 0, *pair) for pair in zip(here, there, strict=True)))
    second = slope(jnp.where(per_clip(there.sigma, z) == 0, z, along(first)), level)
    return along((first + second) / 2)


def _ddim(network: Network, z: Latents, here: Level, there: Level, *, prediction: str) -> Latents:
    return ddim_step(network, z, here, there, prediction=prediction)[0]


# solver(network, z, here, there, *, prediction) -> z'
SOLVERS: dict[str, Solver] = {"heun": heun_step, "ddim": _ddim}


def _converted(prediction: str) -> Reading:
    def read(output: Latents, z: Latents, level: Level) -> Latents:
        function = parameterization.TO_X0[prediction]
        return function(output, z, per_clip(level.alpha, z), per_clip(level.sigma, z))

    return read


def _lcm(
    output: Latents,
    z: Latents,
    level: Level,
    *,
    of: str = "eps",
    sigma_data: float = 0.5,
    scaling: float = 10.0,
) -> Latents:
    """c_skip z + c_out x0, with x0 read as `of` and c_skip = d^2 / ((S t)^2 + d^2), c_out = S t / sqrt((S t)^2 + d^2).

    d is `sigma_data`, S `scaling` and t the timestep: latent consistency models (arXiv:2310.04378) as diffusers
    trains them.
    """
    x0 = tables.choose(_CONVERTED, of, what="The reading under lcm")(output, z, level)
    scaled = scaling * jnp.maximum(per_clip(level.timestep, z), 0)
    length = jnp.hypot(scaled, sigma_data)
    return (sigma_data / length) ** 2 * z + scaled / length * x0


_CONVERTED = {prediction: _converted(prediction) for prediction in parameterization.TO_X0}
# reading(output, z, level, *, options) -> x0
READINGS: dict[str, Reading] = {**_CONVERTED, "lcm": _lcm}


def read_x0(
    output: Shaped[Array, "batch *latent"],
    z: Shaped[Array, "batch *latent"],
    level: Level,
    *,
    prediction: str,
) -> Latents:
    """What a student with this output at z says x0 is, in at least float32.

    "x0" is the raw output, as ConsistencyTTA has it: nothing but the loss keeps it to its boundary, x0 = z at
    sigma = 0. "v", alpha z - sigma v, and "eps" fulfil it by themselves, and a teacher's weights start there at
    just the teacher's x0. "v" is also the c_skip and c_out of Song et al., up to the output's sign, for latents
    of deviation 1. "lcm:of=v" is that of latent consistency models, with options sigma_data and scaling.

    Args:
        output: of the student at z.
        z: variance preserving.
        level: of z.
        prediction: a name in `READINGS`, with options if it has some.

    Raises:
        ValueError: no such reading, or option.
    """
    reading = tables.configured(READINGS, prediction, {}, what="The student's prediction")
    return reading(upcast(output), upcast(z), level)


def noisy(
    x0: Shaped[Array, "batch *latent"],
    eps: Shaped[Array, "batch *latent"],
    level: Level,
    *,
    pure_noise: Bool[Array, " batch"],
) -> Latents:
    """The latents alpha x0 + sigma eps, but sigma eps where `pure_noise`; at least float32.

    ConsistencyTTA removes the signal at the noisiest level of its grid, because sampling starts from noise: z / alpha
    is sigma_max eps there.
    """
    alpha = jnp.where(pure_noise, 0, level.alpha)
    return parameterization.add_noise(upcast(x0), upcast(eps), alpha=alpha, sigma=level.sigma)


def _data_boundary(said: Latents, x0: Latents, there: Level) -> Latents:
    return jnp.where(per_clip(there.timestep, x0) < _ZERO_TIMESTEP, x0, said)


def _network_boundary(said: Latents, x0: Latents, there: Level) -> Latents:
    return said


BOUNDARIES = {"data": _data_boundary, "network": _network_boundary}


def consistency_target(
    target_network: Network,
    teacher: Network,
    x0: Shaped[Array, "batch *latent"],
    z: Latents,
    here: Level,
    there: Level,
    *,
    solver: str | Solver,
    teacher_prediction: str,
    prediction: str,
    boundary: str,
) -> Latents:
    """What `target_network` says of x0 where the teacher's step from z ends; no gradient passes.

    Args:
        target_network: an average of the student, asked at `there`.
        teacher: with its guidance; asked once by "ddim", twice by "heun".
        x0: the clips themselves.
        z: their latents at `here`, from `noisy`.
        here: the noisier level of each clip's interval.
        there: the cleaner.
        solver: a name in `SOLVERS`, or a function like them.
        teacher_prediction: what `teacher` predicts, "eps", "x0" or "v".
        prediction: what the student predicts: see `read_x0`.
        boundary: "data" has x0 itself for target where `there` is timestep 0 or the clean end, ConsistencyTTA's only
            boundary condition. "network" has no such rule and needs a prediction that fulfils the boundary.

    Raises:
        ValueError: a name that there is not.
    """
    step = tables.choose(SOLVERS, solver, what="The solver") if isinstance(solver, str) else solver
    rule = tables.choose(BOUNDARIES, boundary, what="The boundary")
    z_there = step(teacher, upcast(z), here, there, prediction=teacher_prediction)
    output = _ask(target_network, z_there, there)
    said = read_x0(output, z_there, there, prediction=prediction)
    return jax.lax.stop_gradient(rule(said, upcast(x0).astype(said.dtype), there))


def level_weights(grid: Grid, weighting: Weighting, *, inverse_width: bool = False) -> Table:
    """(steps + 1,) weights of the distance between x0s, of each interval at its noisier level; 0 at index 0.

    Args:
        grid: of the student.
        weighting: of x0, a function of log SNR. ConsistencyTTA's is Min-SNR, latent consistency models' "uniform".
        inverse_width: whether they are divided by the interval's width in sigma / alpha, as in iCT
            (arXiv:2310.14189), whose weighting is then "uniform".
    """
    weights = loss_weights(grid, weighting, "x0")
    if inverse_width:
        weights[1:] /= np.diff(grid.sigma / grid.alpha)
    return weights


def check(
    grid: Grid,
    *,
    weighting: Weighting,
    prediction: str,
    boundary: str,
    teacher_prediction: str,
    solver: str = "heun",
) -> None:
    """Raises ValueError, in one sentence, where a student cannot be trained so.

    That is: a name that there is not; a weighting that does not fit (`check_weights`); a level without signal, from
    which no step starts; levels that are not ever noisier; boundary "data" on a grid that does not end at timestep 0
    or below; boundary "network" with a prediction that does not fulfil the boundary.
    """
    tables.choose(SOLVERS, solver, what="The solver")
    tables.choose(parameterization.TO_X0, teacher_prediction, what="The teacher's prediction")
    tables.choose(BOUNDARIES, boundary, what="The boundary")
    bound = _fulfils_boundary(prediction)
    check_weights(grid, weighting, "x0")
    if not (grid.alpha > 0).all():
        raise ValueError(
            "Consistency needs a trace of signal at every level of its grid, but the noisiest has none; "
            "lay it without pure noise (in training, `noisy` removes the signal from the latents)."
        )
    if not (np.diff(grid.sigma / grid.alpha) > 0).all():
        raise ValueError(
            "The levels of a consistency grid must rise in sigma / alpha with their index, but these do "
            "not; lay another grid, or one on a schedule that does not end in pure noise."
        )
    if boundary == "data" and not grid.timesteps[0] < _ZERO_TIMESTEP:
        raise ValueError(
            f"The boundary 'data' needs a grid that ends at timestep 0, but this one ends at "
            f"{grid.timesteps[0]:g}; lay it down to 0, or choose the boundary 'network'."
        )
    if boundary == "network" and not bound:
        raise ValueError(
            f"The boundary 'network' needs a prediction that is z itself at sigma = 0, as v or eps, but "
            f"{prediction!r} is not: a student could learn to say the same of everything."
        )


def _fulfils_boundary(prediction: str) -> bool:
    """Whether x0 is z at the clean end, whatever the output."""
    z, clean = jnp.ones((2, 1)), Level(0.0, 1.0, 0.0)
    said = read_x0(jnp.asarray([[0.0], [9.0]]), z, clean, prediction=prediction)
    return bool((said == z).all())


def _ask(network: Network, z: Latents, level: Level) -> Array:
    return network(z, jnp.broadcast_to(level.timestep, z.shape[:1]))
