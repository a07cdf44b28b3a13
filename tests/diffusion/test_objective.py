"""The objective against diffusers' training scripts, and what must not depend on how it is written."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from ldm_jax.diffusion import bands, densities, parameterization, schedules, weightings
from ldm_jax.diffusion.objective import Objective, configured, squared_error
from tests import cases_objective as cases
from tests import golden

SCHEDULE = schedules.scaled_linear()
TIMESTEPS = jnp.asarray(cases.TIMESTEPS)


def arrays(dtype=np.float32):
    return [jnp.asarray(array.astype(dtype)) for array in cases.arrays().values()]


def test_the_default_is_the_plain_error_of_eps():
    """As AudioLDM 2 was trained: bit for bit the mean square, at uniform timesteps."""
    objective = Objective(schedule=SCHEDULE)
    latents, noise, output = arrays()
    np.testing.assert_array_equal(objective.target(latents, TIMESTEPS, noise), noise)
    errors = objective.errors(output, noise, TIMESTEPS)
    plain = jnp.mean((output - noise) ** 2, axis=(1, 2, 3))
    np.testing.assert_array_equal(errors.loss, plain)
    np.testing.assert_array_equal(errors.prediction, plain)
    np.testing.assert_array_equal(objective.weights, 1)
    np.testing.assert_array_equal(objective.probabilities, 1e-3)


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_diffusers(prediction):
    """Noisy latents, targets, plain and Min-SNR losses a clip. Its float32 schedule is off by up to 7e-6 in SNR."""
    theirs = golden.load("objective")[1]
    latents, noise, output = arrays()
    objective = Objective(
        schedule=SCHEDULE,
        prediction=prediction,
        weighting=weightings.weighting("min_snr", gamma=cases.GAMMA),
    )
    np.testing.assert_allclose(np.exp(SCHEDULE.log_snr[cases.TIMESTEPS]), theirs["snr"], rtol=1e-5)
    noisy = objective.noisy(latents, TIMESTEPS, noise)
    target = objective.target(latents, TIMESTEPS, noise)
    errors = objective.errors(output, target, TIMESTEPS)
    expected = theirs["v"] if prediction == "v" else noise
    for ours, known in ((noisy, theirs["noisy"]), (target, expected)):
        np.testing.assert_allclose(ours, known, rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(errors.prediction, theirs[f"loss_{prediction}"], rtol=1e-5)
    np.testing.assert_allclose(errors.loss, theirs[f"min_snr_loss_{prediction}"], rtol=2e-5)


@pytest.mark.parametrize("name", weightings.WEIGHTINGS)
def test_the_loss_does_not_depend_on_what_is_predicted(name):
    """One denoiser, its output written as eps, x0 or v: the same loss, the same error of x0, in float64."""
    with jax.enable_x64(True):
        latents, noise, wrong = arrays(np.float64)
        found = []
        for prediction in ("eps", "x0", "v"):
            objective = Objective(
                schedule=SCHEDULE, prediction=prediction, weighting=weightings.weighting(name)
            )
            alpha, sigma = SCHEDULE.at(TIMESTEPS, dtype=jnp.float64)
            output = parameterization.convert(
                wrong,
                objective.noisy(latents, TIMESTEPS, noise),
                source="x0",
                target=prediction,
                alpha=alpha,
                sigma=sigma,
            )
            target = objective.target(latents, TIMESTEPS, noise)
            found.append(objective.errors(output, target, TIMESTEPS))
        x0_error = squared_error(wrong, latents)
        expected = weightings.weighting(name)(SCHEDULE.log_snr[cases.TIMESTEPS]) * x0_error
        for errors in found:
            np.testing.assert_allclose(errors.loss, expected, rtol=1e-10)
            np.testing.assert_allclose(errors.x0, x0_error, rtol=1e-10)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_ends_at_the_output(dtype):
    """Everything but the network's output is computed in float32; latents in half precision too."""
    latents, noise, output = arrays()
    objective = Objective(schedule=SCHEDULE, prediction="v")
    latents = latents.astype(dtype)
    noisy = objective.noisy(latents, TIMESTEPS, noise)
    target = objective.target(latents, TIMESTEPS, noise)
    errors = objective.errors(output.astype(dtype), target, TIMESTEPS)
    assert {x.dtype for x in (noisy, target, *errors[:3])} == {jnp.dtype(jnp.float32)}
    x0, said = np.asarray(latents, np.float64), np.asarray(output.astype(dtype), np.float64)
    alpha, sigma = (
        table[cases.TIMESTEPS][:, None, None, None] for table in (SCHEDULE.alpha, SCHEDULE.sigma)
    )
    exact = np.mean((said - (alpha * np.asarray(noise) - sigma * x0)) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(noisy, alpha * x0 + sigma * np.asarray(noise), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(errors.prediction, exact, rtol=1e-5)


def test_weight_and_probability_are_exchangeable():
    """A factor moved from the density to the weighting leaves what is learnt as it is."""
    density = densities.density("laplace", mean=0.5, width=1.0)
    probabilities = densities.probabilities(density, SCHEDULE)

    def reweighted(log_snr):
        factor = np.interp(log_snr, SCHEDULE.log_snr[::-1], probabilities[::-1])
        return factor * weightings.min_snr(log_snr)

    drawn = Objective(
        schedule=SCHEDULE, prediction="v", density=density, weighting=weightings.min_snr
    )
    weighed = Objective(schedule=SCHEDULE, prediction="eps", weighting=reweighted)
    np.testing.assert_allclose(drawn.effective, weighed.effective, rtol=1e-10)
    assert drawn.effective.sum() == pytest.approx(1, rel=1e-12)


def test_the_mean_over_draws_is_the_expectation():
    """Drawn batches of a made-up denoiser, against the sum over timesteps of probability, weight and error."""
    objective = Objective(
        schedule=SCHEDULE,
        prediction="v",
        density=densities.density("edm"),
        weighting=weightings.weighting("bsa"),
    )
    count = 20_000

    @jax.jit
    def losses(key):
        timesteps, noise = objective.draw(key, (count, 4))
        latents = jnp.ones_like(noise)
        target = objective.target(latents, timesteps, noise)
        return objective.errors(jnp.zeros_like(target), target, timesteps).loss

    ours = np.asarray(losses(jax.random.key(1)))
    # E mean(v^2) = alpha^2 + sigma^2 where x0 = 1, which is 1.
    expected = np.sum(objective.probabilities * objective.weights)
    assert abs(ours.mean() - expected) < 4 * ours.std() / np.sqrt(count)
    assert ours.std() / np.sqrt(count) < 0.02 * expected


def test_draw():
    """Standard normal noise that has nothing to do with the timesteps; all of the key, none of the compilation."""
    objective = Objective(schedule=SCHEDULE)
    timesteps, noise = objective.draw(jax.random.key(0), (4096, 3, 2))
    assert timesteps.shape == (4096,)
    assert timesteps.dtype == jnp.int32
    assert noise.dtype == jnp.float32
    assert scipy.stats.kstest(np.asarray(noise).ravel(), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(timesteps, noise[:, 0, 0])[0, 1]) < 0.06
    jitted = jax.jit(functools.partial(objective.draw, shape=(4096, 3, 2)))
    np.testing.assert_array_equal(jitted(jax.random.key(0))[0], timesteps)
    assert (objective.draw(jax.random.key(1), (4096, 3, 2))[0] != timesteps).mean() > 0.99
    even = Objective(schedule=SCHEDULE, stratified=True)
    drawn = np.sort(even.draw(jax.random.key(0), (100, 1))[0])
    assert set(np.diff(drawn)) <= {9, 10, 11}


def test_bands():
    objective = Objective(schedule=SCHEDULE, edges=(-2.0, 0.0, 3.0))
    _, noise, output = arrays()
    errors = jax.jit(objective.errors)(output, noise, TIMESTEPS)
    known = [
        sum(edge <= level for edge in (-2, 0, 3)) for level in SCHEDULE.log_snr[cases.TIMESTEPS]
    ]
    np.testing.assert_array_equal(errors.band, known)
    assert len(set(known)) == len(bands.labels(objective.edges)) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prediction": "score"}, "The prediction must be one of eps, x0, v, but got 'score'"),
        (
            {"weighting": weightings.weighting("inverse"), "prediction": "v"},
            "with inf at timestep 999",
        ),
        (
            {"prediction": "eps"},
            "timestep 999, .*-inf, where eps says nothing of x0 .predict v or x0.;",
        ),
        ({"density": lambda schedule: np.zeros(1000), "prediction": "v"}, "not only zeros"),
        ({"edges": (2.0, 1.0), "prediction": "v"}, "must be finite and rise"),
    ],
)
def test_what_is_refused(options, message):
    """On a schedule that ends in pure noise."""
    with pytest.raises(ValueError, match=message):
        Objective(schedule=schedules.rescale_zero_terminal_snr(SCHEDULE), **options)


def test_configured():
    """Words of a config, and the same objects made by hand."""
    plain, default = configured(), Objective(schedule=SCHEDULE)
    chosen = configured(
        schedule="scaled_linear:beta_start=0.00085,beta_end=0.012",
        zero_terminal_snr=True,
        prediction="v",
        weighting="min_snr:gamma=3",
        density="laplace:width=1",
        stratified=True,
        edges=(0.0,),
    )
    original = schedules.scaled_linear(beta_start=0.00085, beta_end=0.012)
    made = Objective(
        schedule=schedules.rescale_zero_terminal_snr(original),
        prediction="v",
        weighting=lambda log_snr: np.minimum(np.exp(log_snr), 3),
        density=lambda schedule: densities.laplace(schedule, width=1.0),
    )
    for one, other in ((plain, default), (chosen, made)):
        np.testing.assert_array_equal(one.schedule.alphas_cumprod, other.schedule.alphas_cumprod)
        np.testing.assert_array_equal(one.weights, other.weights)
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
        assert one.prediction == other.prediction
    assert (chosen.stratified, chosen.edges) == (True, (0.0,))
    assert (plain.stratified, plain.edges) == (False, bands.EDGES)
