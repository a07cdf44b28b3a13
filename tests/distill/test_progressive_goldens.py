"""Progressive distillation against Salimans and Ho's own code, on their schedule, with one tiny network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ldm_jax.diffusion import schedules, weightings
from ldm_jax.diffusion.objective import squared_error
from ldm_jax.diffusion.parameterization import add_noise, convert
from ldm_jax.distill.grid import Grid
from ldm_jax.distill.progressive import ddim_step, progressive_target
from ldm_jax.train import optimizer as optimizers
from tests import cases_distill_progressive as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, load, relative_error

predictions = pytest.mark.parametrize("prediction", cases.PREDICTIONS)


@functools.cache
def theirs():
    return load("distill_progressive")[1]


def of(name, prediction):
    """What they got with this prediction."""
    return theirs()[name][list(cases.PREDICTIONS).index(prediction)]


def their_grid():
    """Their levels u = k / FINEST; the network reads log SNR, and u = 0 is clean, as their rule for i = 0 has it."""
    log_snr = theirs()["log_snr"]
    alpha, sigma = 1 / np.sqrt(1 + np.exp(-log_snr)), 1 / np.sqrt(1 + np.exp(log_snr))
    alpha[0], sigma[0] = 1, 0
    return Grid(log_snr, alpha, sigma)


def path_of(steps, indices, dtype):
    """Levels u = (i + 1) / N, (i + 1/2) / N and i / N of the steps i."""
    half = cases.FINEST // (2 * steps)
    return [their_grid().at(half * (2 * jnp.asarray(indices + 1) - j), dtype) for j in range(3)]


def asked(parameters):
    return lambda z, log_snr: cases.network(parameters, z, log_snr)


def weighed(parameters, z, target, level, *, prediction, names):
    """Our loss, one row a weighting and one column a clip, for an x0 that is the target."""
    log_snr = level.timestep
    wanted = convert(
        target, z, source="x0", target=prediction, alpha=level.alpha, sigma=level.sigma
    )
    missed = squared_error(cases.network(parameters, z, log_snr), wanted)
    weights = (
        weightings.weight_for(prediction, weightings.weighting(name), log_snr) for name in names
    )
    return jnp.stack([weight * missed for weight in weights])


def furthest(ours, known):
    """The largest relative error among arrays along the first axis."""
    assert len(ours) == len(known)
    return max(relative_error(a, b) for a, b in zip(ours, known, strict=True))


def test_their_schedule():
    with jax.enable_x64(True):
        u = jnp.arange(cases.FINEST + 1, dtype=jnp.float64) / cases.FINEST
        np.testing.assert_allclose(
            schedules.cosine_log_snr(u), theirs()["log_snr"], rtol=1e-10, atol=1e-12
        )
        alpha, sigma = schedules.alpha_sigma(jnp.asarray(theirs()["log_snr"]))
        grid = their_grid()
        np.testing.assert_allclose(alpha[1:], grid.alpha[1:], rtol=1e-12)
        np.testing.assert_allclose(sigma[1:], grid.sigma[1:], rtol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "bound"),
    [(np.float32, FLOAT32_BOUND), (np.float64, FLOAT64_BOUND)],
    ids=["float32", "float64"],
)
@predictions
def test_targets_losses_and_gradients(prediction, dtype, bound):
    """Students of 1, 2 and 4 steps, every step i, every weighting: x_target, loss a clip, gradient of the mean."""
    steps, indices = np.repeat(cases.STUDENTS, cases.BATCH), np.concatenate(cases.INDICES)
    each_loss = (len(cases.WEIGHTINGS), len(cases.STUDENTS), cases.BATCH)

    @jax.jit
    def compute(student, teacher, x0, eps):
        path = path_of(steps, indices, dtype)
        z = add_noise(x0, eps, alpha=path[0].alpha, sigma=path[0].sigma)
        target = progressive_target(asked(teacher), z, path, prediction=prediction)

        def mean(student):
            options = {"prediction": prediction, "names": cases.WEIGHTINGS}
            losses = weighed(student, z, target, path[0], **options).reshape(each_loss)
            return losses.mean(-1), losses

        gradient, losses = jax.jacrev(mean, has_aux=True)(student)
        return z, target, losses, gradient

    with jax.enable_x64(dtype == np.float64):
        parameters = (jnp.asarray(x, dtype) for x in (cases.student(), cases.teacher()))
        clips = (jnp.asarray(x.reshape(-1, *cases.LATENT), dtype) for x in cases.clips())
        z, target, losses, gradient = compute(*parameters, *clips)
    each_clip, each_mean = (-1, *cases.LATENT), (-1, cases.PARAMETERS)
    assert furthest(z, theirs()["z"].reshape(each_clip)) < bound
    assert furthest(target, of("target", prediction).reshape(each_clip)) < bound
    np.testing.assert_allclose(losses, of("loss", prediction), rtol=bound)
    known = of("gradient", prediction).reshape(each_mean)
    assert furthest(gradient.reshape(each_mean), known) < bound


@predictions
def test_the_sampler(prediction):
    """Every z of a student's deterministic steps."""
    grid, stride = their_grid(), cases.FINEST // cases.STUDENTS[-1]
    student = asked(cases.student())

    def step(z, index):
        here, there = (grid.at(k, jnp.float64) for k in (index, index - stride))
        z, _ = ddim_step(student, z, here, there, prediction=prediction)
        return z, z

    with jax.enable_x64(True):
        indices = jnp.arange(cases.FINEST, 0, -stride)
        _, path = jax.lax.scan(step, jnp.asarray(cases.noise()), indices)
    for ours, known in zip(np.asarray(path), of("trajectory", prediction), strict=True):
        assert furthest(ours, known) < FLOAT64_BOUND


def test_a_round_of_training():
    """200 updates from the teacher's parameters, by their recipe: clipped gradients, Adam, a rate that falls to 0."""
    settings = optimizers.Optimizer(
        kind="adam",
        learning_rate=cases.LEARNING_RATE,
        weight_decay=0.0,
        schedule="linear",
        clip_norm=cases.CLIP_NORM,
    )
    optimizer = optimizers.transformation(settings, total_steps=cases.UPDATES)
    prediction, names = cases.ROUND_PREDICTION, [cases.ROUND_WEIGHTING]
    start = cases.teacher()

    def loss(params, x0, eps, indices):
        path = path_of(cases.ROUND_STUDENT, indices, jnp.float64)
        z = add_noise(x0, eps, alpha=path[0].alpha, sigma=path[0].sigma)
        target = progressive_target(asked(start), z, path, prediction=prediction)
        (losses,) = weighed(
            params["student"], z, target, path[0], prediction=prediction, names=names
        )
        return losses.mean()

    def update(state, drawn):
        params, moments = state
        missed, gradient = jax.value_and_grad(loss)(params, *drawn)
        change, moments = optimizer.update(gradient, moments, params)
        params = optax.apply_updates(params, change)
        return (params, moments), (params["student"], missed)

    with jax.enable_x64(True):
        params = {"student": jnp.asarray(start)}
        drawn = tuple(jnp.asarray(x) for x in cases.stream())
        _, made = jax.lax.scan(update, (params, optimizer.init(params)), drawn)
    path, missed = map(np.asarray, made)
    kept = path[cases.KEPT_EVERY - 1 :: cases.KEPT_EVERY]
    # Our rate and first moment are float32: measured 1e-7.
    assert furthest(kept - start, theirs()["round_path"] - start) < 1e-6
    np.testing.assert_allclose(missed, theirs()["round_loss"], rtol=1e-6)
    # The student has learnt something, or there was nothing to compare.
    assert missed[-20:].mean() < 0.6 * missed[:20].mean()
