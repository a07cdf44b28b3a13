"""Guided distillation: loss and gradient by the formula of Meng et al., arXiv 2210.03142, section 3.1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.diffusion.distilled import Distilled
from ldm_jax.models.unet import UNet
from ldm_jax.profiling import count_flops
from ldm_jax.train.stages.guided import GuidedStage
from tests.golden import FLOAT32_BOUND, relative_error
from tests.train.stages import distillation_setup as setup

pytestmark = pytest.mark.usefixtures("quick_compilation")

TEACHER, STUDENT = setup.params(0, told=False), setup.params(1, told=True)
NETWORKS = {"unet": setup.unet(told=True), "teacher": setup.unet(told=False)}
TIMESTEPS = np.array([3, 420, 999])


def given(**drawn):
    return setup.given(frozen={"teacher": TEACHER}, timesteps=TIMESTEPS, **drawn)


def levels():
    return map(setup.per_clip, setup.published_levels(TIMESTEPS))


def noisy(*, pure_noise):
    alpha, sigma = levels()
    z = alpha * setup.latents() + sigma * setup.noise()
    if pure_noise:
        z[2] = setup.noise()[2]
    return z


def weights(weight, prediction):
    alpha, sigma = levels()
    snr = (alpha / sigma).ravel() ** 2
    return weight(snr) / {"eps": snr, "v": snr + 1}[prediction]


def as_v(eps, z):
    """v = alpha eps - sigma x0 with x0 = (z - sigma eps) / alpha."""
    alpha, sigma = levels()
    return alpha * eps - sigma * (z - sigma * eps) / alpha


@pytest.mark.parametrize(
    ("prediction", "settings", "weight"),
    [
        ("v", {"weighting": "bsa"}, lambda snr: np.clip(snr, 1, 5)),
        ("eps", {"weighting": "min_snr", "pure_noise": False}, lambda snr: np.minimum(snr, 5)),
    ],
)
def test_two_calls_in_one(prediction, settings, weight):
    """A teacher of eps, each clip with its own scale."""
    stage = setup.stage(GuidedStage, setup.origin("eps"), prediction=prediction, **settings)
    (loss, figures), gradient = setup.loss_and_gradient(stage, NETWORKS, STUDENT, given())
    z = noisy(pure_noise=stage.pure_noise)
    eps = setup.guided(TEACHER, setup.SCALES)(z, TIMESTEPS)
    target = as_v(eps, z) if prediction == "v" else eps
    expected, slope = setup.weighted_error(
        *(STUDENT, z, TIMESTEPS, target, weights(weight, prediction)), scale=setup.SCALES
    )
    assert relative_error(loss, expected) < FLOAT32_BOUND
    assert relative_error(setup.flat(gradient["unet"]), setup.flat(slope)) < FLOAT32_BOUND
    total, count = figures["loss/distillation"]
    assert float(total / count) == pytest.approx(float(loss), rel=1e-6)


def test_scale_one_is_the_conditional_model():
    """Whether each clip drew 1, or nothing else can be drawn and the student is not told."""
    z = noisy(pure_noise=True)
    target = as_v(setup.plain(TEACHER)(z, TIMESTEPS), z)
    by_clip = weights(lambda snr: np.minimum(snr, 5), "v")
    settings = {"prediction": "v", "weighting": "min_snr"}

    stage = setup.stage(GuidedStage, setup.origin("eps"), **settings)
    drawn = given(scale=np.ones(3))
    (loss, _), gradient = setup.loss_and_gradient(stage, NETWORKS, STUDENT, drawn)
    expected, slope = setup.weighted_error(
        *(STUDENT, z, TIMESTEPS, target, by_clip), scale=np.ones(3)
    )
    assert relative_error(loss, expected) < FLOAT32_BOUND
    assert relative_error(setup.flat(gradient["unet"]), setup.flat(slope)) < FLOAT32_BOUND

    stage = setup.stage(GuidedStage, setup.origin("eps"), guidance=(1.0, 1.0), **settings)
    other = setup.params(2, told=False)
    (player,) = stage.players(networks := NETWORKS | {"unet": NETWORKS["teacher"]})
    loss, _ = player.loss({"unet": other}, drawn)
    missed = setup.mean_square(setup.plain(other)(z, TIMESTEPS), target)
    assert stage.adapted(networks) is networks
    assert relative_error(loss, (by_clip * missed).mean()) < FLOAT32_BOUND


def test_the_teacher_gets_no_gradient():
    stage = setup.stage(GuidedStage, setup.origin("eps"), prediction="v")
    (player,) = stage.players(NETWORKS)

    def loss(teacher):
        held = given()._replace(frozen={"teacher": teacher})
        return player.loss({"unet": STUDENT}, held)[0]

    assert setup.norm(jax.grad(loss)(TEACHER)) == 0


def test_a_step_costs_what_its_calls_cost():
    """One call of the teacher with both branches' conditions, at most two; the student's, forwards and back."""
    networks = {
        "unet": setup.unet(told=True, kind=UNet),
        "teacher": setup.unet(told=False, kind=UNet),
    }
    teacher, student = setup.Program(told=False), setup.Program(told=True)
    stage = setup.stage(GuidedStage, setup.origin("eps"), prediction="v")
    (player,) = stage.players(networks)
    step = jax.grad(lambda p: player.loss({"unet": p}, given())[0])
    cost = count_flops(step, STUDENT)
    assert cost == pytest.approx(teacher.doubled + student.gradient, rel=1e-9)
    assert teacher.doubled <= 2 * teacher.forward


def test_draws():
    """Scales evenly over their range, timesteps over the schedule, places over 0 .. 1, or one in each third."""
    stage = setup.stage(GuidedStage, setup.origin("eps"), guidance=(2.0, 5.0))
    keys = jax.random.split(jax.random.key(0), 2000)

    def drawn(stage):
        return jax.jit(
            jax.vmap(lambda key: stage.draw(NETWORKS, key, setup.batch(), jnp.int32(0)))
        )(keys)

    found = drawn(stage)
    assert found["scale"].shape == found["place"].shape == found["timesteps"].shape == (2000, 3)
    for name, low, high in (("scale", 2, 5), ("place", 0, 1), ("timesteps", 0, 999)):
        x = np.asarray(found[name], np.float64)
        assert low <= x.min()
        assert x.max() <= high
        assert x.mean() == pytest.approx((low + high) / 2, abs=0.015 * (high - low))
        assert x.std() == pytest.approx((high - low) / 12**0.5, rel=0.02)
    spread = np.sort(drawn(setup.stage(GuidedStage, setup.origin("eps"), stratified=True))["place"])
    assert (np.floor(spread * 3) == [0, 1, 2]).all()


def test_what_is_told_of_the_student():
    stage = setup.stage(GuidedStage, setup.origin("eps"), prediction="v", guidance_scale=4.0)
    told = stage.sampled(NETWORKS)
    assert told["scheduler"]["prediction_type"] == "v_prediction"
    assert told["scheduler"]["beta_end"] == 0.0195
    assert told["distilled"] == Distilled(
        method="guided", guidance=(0.0, 6.0), guidance_scale=4.0, pure_noise=True
    )
    one = setup.stage(GuidedStage, setup.origin("eps"), guidance=(3.0, 3.0))
    assert one.sampled(NETWORKS)["distilled"].guidance == ()
    assert one.sampled(NETWORKS)["distilled"].guidance_scale == 3
