"""Progressive distillation: loss and gradient by algorithm 2 of Salimans and Ho, arXiv 2202.00512, clip by clip."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ldm_jax.models.unet import UNet
from ldm_jax.profiling import count_flops
from ldm_jax.train.metrics import figures
from ldm_jax.train.representation import chosen
from ldm_jax.train.stages.progressive import ProgressiveStage
from ldm_jax.train.state import initial
from ldm_jax.train.step import make_step
from tests.golden import FLOAT32_BOUND, relative_error
from tests.train.stages import distillation_setup as setup

pytestmark = pytest.mark.usefixtures("quick_compilation")

TEACHER, STUDENT = setup.params(3, told=True), setup.params(1, told=True)
NETWORKS = {"unet": setup.unet(told=True)}
PLACES = np.array([0.05, 0.55, 0.99])  # the cleanest level of few, one in the middle, the noisiest
WEIGHTS = {  # on x0's error, of SNR
    "bsa": lambda snr: np.clip(snr, 1, 5),
    "uniform": np.ones_like,
    "truncated": lambda snr: np.maximum(snr, 1),
    "snr_plus_one": lambda snr: snr + 1,
    "min_snr:gamma=3": lambda snr: np.minimum(snr, 3),
}


def made(prediction, students, *, steps, distilled=setup.TOLD, **settings):
    origin = setup.origin(prediction, distilled=distilled)
    settings = {"students": students, "teacher_steps": steps} | settings
    return setup.stage(ProgressiveStage, origin, name="unet", **settings)


def given(number, **drawn):
    return setup.given(followers={"teacher": TEACHER}, number=number, **({"place": PLACES} | drawn))


def level(index, steps, *, pure_noise):
    """(timestep, alpha, sigma) of u = index / steps; at u = 0 nothing is noise, at u = 1 all may be."""
    t = 1000 * index / steps - 1
    alpha, sigma = map(np.array, setup.published_levels(t))
    alpha[index == 0], sigma[index == 0] = 1, 0
    if pure_noise:
        alpha[index == steps], sigma[index == steps] = 0, 1
    return t, setup.per_clip(alpha), setup.per_clip(sigma)


def read(output, z, alpha, sigma, prediction):
    """(x0, eps) of an output."""
    if prediction == "v":
        return alpha * z - sigma * output, sigma * z + alpha * output
    if prediction == "x0":
        return output, (z - alpha * output) / sigma
    return (z - sigma * output) / alpha, output


def written_out(teacher, index, *, steps, calls, prediction, pure_noise=False):
    """(z, timesteps, target, SNR) where the teacher makes up to `calls` of its `steps` from level `index` on."""
    t, alpha, sigma = level(index, steps, pure_noise=pure_noise)
    start = alpha * setup.latents() + sigma * setup.noise()
    z, here = start, (alpha, sigma)
    for call in range(calls):
        at = np.maximum(index - call, 0)
        moving = setup.per_clip(at > 0)
        times, a, s = level(np.maximum(at, 1), steps, pure_noise=pure_noise)
        _, a2, s2 = level(np.maximum(at - 1, 0), steps, pure_noise=pure_noise)
        x0, eps = read(teacher(z, times), z, a, s, prediction)
        z = np.where(moving, a2 * x0 + s2 * eps, z)
    _, a2, s2 = level(np.maximum(index - calls, 0), steps, pure_noise=pure_noise)
    alpha, sigma = here
    x0 = (z - s2 / sigma * start) / (a2 - s2 / sigma * alpha)
    target = {
        "x0": x0,
        "eps": (start - alpha * x0) / sigma,
        "v": (alpha * start - x0) / sigma,
    }[prediction]
    return start, t, target, (alpha / sigma).ravel() ** 2


def assert_as_written_out(stage, number, index, *, steps, calls, teacher=None, drawn=None):
    """Loss and gradient of a round, the teacher at level `index` of its `steps`."""
    drawn = given(number, **(drawn or {}))
    (loss, told), gradient = setup.loss_and_gradient(stage, NETWORKS, STUDENT, drawn)
    z, t, target, snr = written_out(
        teacher or setup.plain(TEACHER, setup.SCALES),
        index,
        steps=steps,
        calls=calls,
        prediction=stage.prediction,
        pure_noise=stage.pure_noise,
    )
    with np.errstate(divide="ignore"):
        gain = {"eps": snr, "x0": 1, "v": snr + 1}[stage.prediction]
    weights = WEIGHTS[stage.weighting](snr) / gain
    expected, slope = setup.weighted_error(STUDENT, z, t, target, weights, scale=setup.SCALES)
    assert relative_error(loss, expected) < FLOAT32_BOUND
    assert relative_error(setup.flat(gradient["unet"]), setup.flat(slope)) < FLOAT32_BOUND
    assert float(figures(told)["student_steps"]) == stage.students[number]


@pytest.mark.parametrize(
    ("prediction", "weighting", "students", "number", "steps", "pure_noise"),
    [
        ("v", "bsa", (4, 2), 0, 8, False),
        ("v", "snr_plus_one", (4, 2), 1, 4, False),
        ("v", "truncated", (2, 1), 1, 2, True),
        ("eps", "min_snr:gamma=3", (4, 2), 0, 8, False),
        ("x0", "uniform", (2,), 0, 6, True),  # by threes
    ],
)
def test_one_step_for_several(prediction, weighting, students, number, steps, pure_noise):
    first = {(2, 1): 4}.get(students, steps if number == 0 else 2 * steps)
    stage = made(prediction, students, steps=first, weighting=weighting, pure_noise=pure_noise)
    own = students[number]
    index = np.ceil(PLACES * own).astype(int) * (steps // own)
    assert_as_written_out(stage, number, index, steps=steps, calls=steps // own)


@pytest.mark.parametrize("number", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_rounds_of_different_factors(number):
    """8 steps to 4, and these at once to 1, in one program."""
    stage = made("v", (4, 1), steps=8, weighting="bsa")
    own, steps = (4, 1)[number], (8, 4)[number]
    index = np.ceil(PLACES * own).astype(int) * (steps // own)
    assert_as_written_out(stage, number, index, steps=steps, calls=steps // own)


def test_between_its_own_levels_for_the_stochastic_sampler():
    """A student of 4 at all 8 levels of its teacher; from the first of these one step of the teacher is left."""
    stage = made("v", (4, 2), steps=8, weighting="bsa", stochastic=True)
    places = np.array([0.05, 0.6, 0.8])
    index = np.array([1, 5, 7])
    assert_as_written_out(stage, 0, index, steps=8, calls=2, drawn={"place": places})


def test_a_teacher_that_is_not_told():
    """A model without guidance, or a student that imitates one scale."""
    networks = {"unet": setup.unet(told=False)}
    theirs, own = setup.params(0, told=False), setup.params(2, told=False)
    stage = made("eps", (4,), steps=8, distilled=None, weighting="bsa")
    assert (stage.guidance, stage.takes_scale()) == ((1.0, 1.0), False)
    stage.check(networks)
    (player,) = stage.players(networks)
    loss, _ = player.loss({"unet": own}, given(0)._replace(followers={"teacher": theirs}))
    index = np.ceil(PLACES * 4).astype(int) * 2
    z, t, target, snr = written_out(setup.plain(theirs), index, steps=8, calls=2, prediction="eps")
    missed = setup.mean_square(setup.plain(own)(z, t), target)
    assert relative_error(loss, (np.clip(snr, 1, 5) / snr * missed).mean()) < FLOAT32_BOUND


def test_the_teacher_gets_no_gradient():
    stage = made("v", (4, 2), steps=8)
    (player,) = stage.players(NETWORKS)

    def loss(teacher):
        held = given(0)._replace(followers={"teacher": teacher})
        return player.loss({"unet": STUDENT}, held)[0]

    assert setup.norm(jax.grad(loss)(TEACHER)) == 0


@pytest.mark.parametrize(
    ("students", "steps", "calls"),
    [((4, 2), 8, 2), pytest.param((2,), 6, 3, marks=pytest.mark.slow)],
)
def test_a_step_costs_what_its_calls_cost(students, steps, calls):
    """The teacher's calls and the student's, forwards and back."""
    stage, one = made("v", students, steps=steps), setup.Program(told=True)
    (player,) = stage.players({"unet": setup.unet(told=True, kind=UNet)})
    step = jax.grad(lambda p: player.loss({"unet": p}, given(0))[0])
    cost = count_flops(step, STUDENT)
    assert cost == pytest.approx(calls * one.forward + one.gradient, rel=1e-9)


@pytest.mark.slow
def test_rounds_follow_each_other_in_one_program():
    """The student becomes the teacher, its average the student; losses are those of each round."""
    stage = made("v", (4, 2), steps=8, weighting="bsa")
    networks = {"unet": setup.unet(told=True, kind=UNet)}
    rules = {"model": optax.adam(1e-3)}
    state = initial(
        {"unet": STUDENT},
        averaged=("unet",),
        transformations=rules,
        players={"model": ("unet",)},
        constants={"latent_scale": given(0).constants["latent_scale"]},
        followers={"teacher": "unet"},
    )
    make = make_step(stage, networks, rules, join=chosen().join, ema_decay=0.5, round_steps=2)
    step, key = jax.jit(make), jax.random.key(3)
    for number in range(4):
        before, (state, metrics) = state, step(state, {}, {}, setup.batch(), key)
        draws = stage.draw(networks, jax.random.fold_in(key, number), setup.batch(), before.step)
        held = given(number // 2)._replace(draws=draws, followers=before.followers)
        (player,) = stage.players(NETWORKS)
        loss, _ = player.loss({"unet": before.params["unet"]}, held)
        told = figures(jax.device_get(metrics))
        assert relative_error(told["loss"], loss) < FLOAT32_BOUND
        assert told["student_steps"] == stage.students[number // 2]
        if number == 1:
            for name in ("params", "followers"):
                (tree,) = getattr(state, name).values()
                np.testing.assert_array_equal(setup.flat(tree), setup.flat(state.ema))
        else:
            np.testing.assert_array_equal(setup.flat(state.followers), setup.flat(before.followers))
    assert step._cache_size() == 1


def test_what_is_told_of_each_student():
    stage = made("v", (4, 2), steps=8, pure_noise=True, stochastic=True)
    told = [stage.sampled(NETWORKS, round=number)["distilled"] for number in (0, 1, -1)]
    assert [x.steps for x in told] == [4, 2, 2]
    assert told[0].timesteps == (999, 749, 499, 249)
    assert told[1].timesteps == (999, 499)
    for one in told:
        assert (one.method, one.pure_noise, one.halfway) == ("progressive", True, True)
        assert (one.guidance, one.guidance_scale) == ((0, 6), 3.5)


def test_what_is_found_out_of_the_teacher():
    stage = made("v", (4, 2), steps=0)
    assert (stage.prediction, stage.teacher_steps, stage.guidance) == ("v", 200, (0, 6))
    student = made("v", (4, 2), steps=8).distilled(round=0)
    again = made("v", (2, 1), steps=0, distilled=student)
    assert again.teacher_steps == 4
    cosine = setup.origin("eps", beta_schedule="squaredcos_cap_v2", rescale_betas_zero_snr=True)
    stage = setup.stage(ProgressiveStage, cosine, name="unet")
    schedule = stage.noise_schedule()
    assert schedule.alpha[-1] == 0
    assert float(schedule.alpha[499]) == pytest.approx(
        np.cos((0.5 + 0.008) / 1.008 * np.pi / 2), rel=1e-2
    )
    assert jnp.isfinite(schedule.log_snr[0])
