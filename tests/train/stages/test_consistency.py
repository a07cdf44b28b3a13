"""Consistency distillation: loss and gradient by ConsistencyTTA's algorithm, arXiv 2309.10740, in its own variables.

There z is variance exploding, x0 + s eps with s = sigma / alpha, and networks are asked z / sqrt(s^2 + 1).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.convert.random_checkpoint import random_params
from ldm_jax.diffusion.distilled import Distilled
from ldm_jax.distill.audio_space import AudioSpace
from ldm_jax.distill.features import stage_features
from ldm_jax.models.unet import UNet
from ldm_jax.models.vae import VAE
from ldm_jax.profiling import count_flops
from ldm_jax.train.metrics import figures
from ldm_jax.train.stages.consistency import ConsistencyStage
from ldm_jax.train.stages.stage import Given
from tests import cases_joint as cases
from tests.distill import tiny_sound
from tests.golden import FLOAT32_BOUND, relative_error
from tests.train.stages import distillation_setup as setup

pytestmark = pytest.mark.usefixtures("quick_compilation")

PLAIN = setup.params(0, told=False)  # a teacher with two branches
TOLD = setup.params(3, told=True)  # one that is told the scale
STUDENT, TARGET = setup.params(1, told=True), setup.params(2, told=True)
NETWORKS = {
    "told": {"unet": setup.unet(told=True), "teacher": setup.unet(told=True)},
    "plain": {"unet": setup.unet(told=True), "teacher": setup.unet(told=False)},
}
PLACES = np.array([0.05, 0.55, 0.99])  # the last interval, one in the middle, the first
INTERVALS = np.array([1, 10, 17])


def given(teacher, **drawn):
    return setup.given(
        frozen={"teacher": teacher}, followers={"target": TARGET}, place=PLACES, **drawn
    )


def made(theirs, *, distilled=None, **settings):
    origin = setup.origin(theirs, distilled=distilled)
    return setup.stage(ConsistencyStage, origin, **settings)


def levels(grid):
    """(timesteps, s) here and a step further."""
    alpha, sigma = setup.published_levels(np.arange(1000))
    table = sigma / alpha
    if grid == "karras":
        low, high = table[0] ** (1 / 7), table[-1] ** (1 / 7)
        s = (low + np.arange(18) / 17 * (high - low)) ** 7
        t = np.interp(np.log(s), np.log(table), np.arange(1000))  # as diffusers looks for it
    else:
        t = np.linspace(0, 999, 18)
        s = np.interp(t, np.arange(1000), table)
    return [(t[n], setup.per_clip(s[n])) for n in (INTERVALS, INTERVALS - 1)]


def read(output, z, s, prediction):
    """x0 of an output at z."""
    if prediction == "v":
        return z / (s**2 + 1) - output * s / np.sqrt(s**2 + 1)
    return z - s * output if prediction == "eps" else output


def ask(network, z, s, t):
    return network(z / np.sqrt(s**2 + 1), t)


def trajectory(teacher, z, *, kind, solver, grid="uniform"):
    """z a step further, by Euler's or by Heun's method."""
    (t, s), (t2, s2) = levels(grid)
    slope = (z - read(ask(teacher, z, s, t), z, s, kind)) / s
    further = z + (s2 - s) * slope
    if solver == "ddim":
        return further
    other = (further - read(ask(teacher, further, s2, t2), further, s2, kind)) / s2
    return z + (s2 - s) * (slope + other) / 2


def written_out(
    teacher, average=None, *, kind, prediction, solver="heun", data=False, grid="uniform"
):
    """(what the student is asked, timesteps, target, how its output is read, SNR)."""
    (t, s), (t2, s2) = levels(grid)
    z = setup.latents() + s * setup.noise()
    z[2] = (s * setup.noise())[2]
    further = trajectory(teacher, z, kind=kind, solver=solver, grid=grid)
    average = average or setup.plain(TARGET, setup.SCALES)
    target = read(ask(average, further, s2, t2), further, s2, prediction)
    if data:
        target[0] = setup.latents()[0]
    narrow = jnp.float32
    at, level = jnp.asarray(z, narrow), jnp.asarray(s, narrow)
    return (
        z / np.sqrt(s**2 + 1),
        t,
        target,
        lambda output: read(output, at, level, prediction),
        s.ravel() ** -2.0,
    )


TTA = {"prediction": "x0", "boundary": "data", "weighting": "min_snr"}


@pytest.mark.parametrize(
    ("kind", "teacher", "settings"),
    [
        ("v", "plain", TTA),  # as ConsistencyTTA is trained
        ("eps", "plain", {"prediction": "v", "weighting": "bsa"}),
        ("v", "told", {"prediction": "v", "weighting": "bsa", "solver": "ddim"}),
        ("v", "told", {**TTA, "weighting": "bsa"}),
    ],
)
def test_what_the_average_says_a_step_further(kind, teacher, settings):
    distilled = setup.TOLD if teacher == "told" else None
    stage = made(kind, distilled=distilled, **settings)
    params = {"told": TOLD, "plain": PLAIN}[teacher]
    (loss, _), gradient = setup.loss_and_gradient(stage, NETWORKS[teacher], STUDENT, given(params))
    network = setup.plain(params, setup.SCALES) if distilled else setup.guided(params, setup.SCALES)
    z, t, target, reading, snr = written_out(
        network,
        kind=kind,
        prediction=stage.prediction,
        solver=stage.solver,
        data=stage.boundary == "data",
    )
    floor = {"bsa": 1, "min_snr": 0}[stage.weighting]
    expected, slope = setup.weighted_error(
        *(STUDENT, z, t, target, np.clip(snr, floor, 5)), scale=setup.SCALES, read=reading
    )
    assert relative_error(loss, expected) < FLOAT32_BOUND
    assert relative_error(setup.flat(gradient["unet"]), setup.flat(slope)) < FLOAT32_BOUND


def test_one_scale_that_the_student_is_not_told():
    """w = 3 for all: the teacher makes two calls, student and average are asked without a scale."""
    networks = {"unet": setup.unet(told=False), "teacher": setup.unet(told=False)}
    student, average = setup.params(2, told=False), setup.params(4, told=False)
    stage = made("v", guidance=(3.0, 3.0), guidance_input=False, weighting="bsa")
    assert stage.adapted(networks) is networks
    stage.check(networks)
    three = np.full(3, 3.0)
    held = given(PLAIN, scale=three)._replace(followers={"target": average})
    (player,) = stage.players(networks)
    loss, _ = player.loss({"unet": student}, held)
    z, t, target, reading, snr = written_out(
        *(setup.guided(PLAIN, three), setup.plain(average)), kind="v", prediction="v"
    )
    missed = setup.mean_square(np.asarray(reading(setup.plain(student)(z, t))), target)
    assert relative_error(loss, (np.clip(snr, 1, 5) * missed).mean()) < FLOAT32_BOUND


def test_distance_grid_and_widths():
    """Pseudo-Huber of iCT on Karras' levels, each weighted with the inverse of its interval, arXiv 2310.14189."""
    settings = {"prediction": "v", "grid": "karras", "inverse_width": True, "weighting": "uniform"}
    stage = made("v", distilled=setup.TOLD, distance="pseudo_huber:c=0.1", **settings)
    (loss, _), gradient = setup.loss_and_gradient(stage, NETWORKS["told"], STUDENT, given(TOLD))
    z, t, target, reading, _ = written_out(
        setup.plain(TOLD, setup.SCALES), kind="v", prediction="v", grid="karras"
    )
    (_, s), (_, s2) = levels("karras")

    def pseudo_huber(said, target):
        return jnp.sqrt(setup.mean_square(said, target) + 0.01) - 0.1

    expected, slope = setup.weighted_error(
        *(STUDENT, z, t, target, (1 / (s - s2)).ravel()),
        scale=setup.SCALES,
        read=reading,
        distance=pseudo_huber,
    )
    assert relative_error(loss, expected) < FLOAT32_BOUND
    assert relative_error(setup.flat(gradient["unet"]), setup.flat(slope)) < FLOAT32_BOUND
    told = stage.sampled(NETWORKS["told"])["distilled"]
    np.testing.assert_allclose(np.array(told.edm_sigmas[::-1])[INTERVALS], s.ravel(), rtol=1e-6)


@pytest.mark.slow
def test_through_the_teachers_eyes():
    """Both x0 with one noise at one level, as unit vectors over the channels of what each stage hands on."""
    stage = made("v", distilled=setup.TOLD, prediction="v", features_of="down", weighting="bsa")
    networks = {name: setup.unet(told=True, kind=UNet) for name in ("unet", "teacher")}
    noise = np.random.default_rng(0).standard_normal((3, 8, 4, 3))
    place = np.array([0.2, 0.4, 0.9])
    drawn = given(TOLD, feature_noise=noise, feature_place=place)
    (player,) = stage.players(networks)
    loss, _ = jax.jit(player.loss)({"unet": STUDENT}, drawn)
    z, t, target, reading, snr = written_out(
        setup.plain(TOLD, setup.SCALES), kind="v", prediction="v"
    )
    said = np.asarray(reading(setup.plain(STUDENT, setup.SCALES)(z, t)))
    at = np.linspace(0, 999, 18)[np.ceil(place * 17).astype(int)]
    alpha, sigma = map(setup.per_clip, setup.published_levels(at))

    @jax.jit
    def unit(x0):
        z = jnp.asarray(alpha * x0 + sigma * noise, jnp.float32)
        inputs = (z, jnp.asarray(at, jnp.float32), (setup.conditions(empty=False),), None)
        scales = jnp.asarray(setup.SCALES, jnp.float32)
        found = stage_features(networks["teacher"], {"params": TOLD}, *inputs, scales, parts="down")
        return [x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in found]

    missed = sum(setup.mean_square(a, b) for a, b in zip(unit(said), unit(target), strict=True))
    assert relative_error(loss, (np.clip(snr, 1, 5) * missed).mean()) < FLOAT32_BOUND


def test_neither_teacher_nor_average_gets_a_gradient():
    stage = made("v", distilled=setup.TOLD, prediction="v", solver="ddim")
    (player,) = stage.players(NETWORKS["told"])

    def loss(others):
        held = given(others["teacher"])._replace(followers={"target": others["target"]})
        return player.loss({"unet": STUDENT}, held)[0]

    assert setup.norm(jax.grad(loss)({"teacher": TOLD, "target": TARGET})) == 0


@pytest.mark.parametrize(
    ("told", "solver", "calls"),
    [
        (False, "heun", 2),
        pytest.param(True, "heun", 2, marks=pytest.mark.slow),
        pytest.param(False, "ddim", 1, marks=pytest.mark.slow),
    ],
)
def test_a_step_costs_what_its_calls_cost(told, solver, calls):
    """The teacher's calls, each with both branches' conditions or told the scale; the average's; the student's."""
    stage = made("v", distilled=setup.TOLD if told else None, solver=solver)
    networks = {
        name: setup.unet(told=told or name == "unet", kind=UNet) for name in ("unet", "teacher")
    }
    (player,) = stage.players(networks)
    held = given(TOLD if told else PLAIN)
    cost = count_flops(jax.grad(lambda p: player.loss({"unet": p}, held)[0]), STUDENT)
    teacher, student = setup.Program(told=told), setup.Program(told=True)
    once = teacher.forward if told else teacher.doubled
    assert cost == pytest.approx(calls * once + student.forward + student.gradient, rel=1e-9)
    assert teacher.doubled <= 2 * teacher.forward


def test_what_is_told_of_the_student():
    stage = made("eps", prediction="v", guidance_scale=4.0)
    told = stage.sampled(NETWORKS["plain"])
    assert told["scheduler"]["prediction_type"] == "v_prediction"
    assert told["distilled"] == Distilled(
        method="consistency",
        steps=1,
        timesteps=tuple(np.linspace(0, 999, 18)[::-1]),
        guidance=(0.0, 6.0),
        guidance_scale=4.0,
        pure_noise=True,
    )
    assert {name: x.decay for name, x in stage.followers().items()} == {"target": 0.95}


def test_a_student_goes_on_with_its_own_prediction():
    """Of x0, from where another run has come to, whatever its teacher predicts."""
    origins = {"teacher": setup.origin("eps"), "unet": setup.origin("x0")}
    stage = ConsistencyStage(encoded=True, boundary="data").informed(origins)
    assert (stage.prediction, stage.teacher_prediction) == ("x0", "eps")
    stage = ConsistencyStage(encoded=True, prediction="v").informed(origins)
    assert (stage.prediction, stage.teacher_prediction) == ("v", "eps")


@pytest.mark.slow
def test_spectrograms_are_compared_too():
    """0.7 on latents and 0.3 on decoded log-mels, both weighted by the level."""
    vae = VAE((8,), 3, 1, 4, cases.SCALE)
    params = jax.tree.map(jnp.asarray, random_params(vae, name="vae", seed=0))
    space = AudioSpace(latent=0.7, mel=0.3, chunk=3)
    stage = made("v", distilled=setup.TOLD, audio=space, weighting="bsa", latent_scale=0.0)
    held = given(TOLD)
    held = held._replace(frozen={**held.frozen, "vae": params})
    networks = {**NETWORKS["told"], "vae": vae}
    stage.check(networks)
    (loss, told), gradient = setup.loss_and_gradient(stage, networks, STUDENT, held)
    z, t, target, reading, snr = written_out(
        setup.plain(TOLD, setup.SCALES), kind="v", prediction="v"
    )

    @jax.jit
    def decoded(x0):
        return vae.apply({"params": params}, x0 / cases.SCALE, method="decode")

    def distance(said, target):
        mel = setup.mean_square(decoded(said), decoded(target))
        return 0.7 * setup.mean_square(said, target) + 0.3 * mel

    expected, slope = setup.weighted_error(
        *(STUDENT, z, t, target, np.clip(snr, 1, 5)),
        scale=setup.SCALES,
        read=reading,
        distance=distance,
    )
    assert relative_error(loss, expected) < FLOAT32_BOUND
    assert relative_error(setup.flat(gradient["unet"]), setup.flat(slope)) < FLOAT32_BOUND
    said = reading(jnp.asarray(setup.plain(STUDENT, setup.SCALES)(z, t), jnp.float32))
    mel = setup.mean_square(decoded(said), decoded(jnp.asarray(target, jnp.float32)))
    assert figures(told)["loss/mel"] == pytest.approx(float(mel.mean()), rel=1e-4)


@pytest.mark.slow
def test_what_is_heard_moves_the_student_alone():
    """The loss of one clip is the level's weight times the weighted sum of the terms."""
    weights = {"latent": 1.0, "mel": 0.2, "stft": 0.3, "clap_text": 0.1, "clap_audio": 0.4}
    seconds = tiny_sound.FRAMES * tiny_sound.HOP / tiny_sound.RATE
    space = AudioSpace(**weights, sample_rate=tiny_sound.RATE, seconds=seconds)
    unet = setup.unet(told=True, kind=UNet).clone(in_channels=4, out_channels=4)
    networks = {"unet": unet, "teacher": unet, **tiny_sound.networks()}
    seeds = {"unet": 1, "target": 2, "teacher": 3}
    unets = {name: random_params(unet, name="unet", seed=seed) for name, seed in seeds.items()}
    stage = made("v", distilled=setup.TOLD, audio=space, solver="ddim", latent_scale=0.0)
    stage.check(networks)
    sound = tiny_sound.arrays(1)
    moments = np.concatenate([sound["latents"], 0 * sound["latents"]], axis=-1)
    batch = {name: x[:1] for name, x in setup.batch().items()} | {
        "latents": moments,
        "clap_ids": sound["ids"],
        "clap_mask": sound["mask"],
        "wave": sound["sound"],
    }
    batch = jax.tree.map(jnp.asarray, batch)
    drawn = stage.draw(networks, jax.random.key(0), batch, jnp.int32(0))
    (player,) = stage.players(networks)

    def loss(params):
        frozen = {name: params[name] for name in ("teacher", "vae", "vocoder", "clap")}
        followers = {"target": params["target"]}
        constants = {"latent_scale": jnp.float32(0.5)}
        held = Given(frozen, batch, drawn, constants, jnp.int32(0), followers=followers)
        return player.loss({"unet": params["unet"]}, held)

    both = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (total, told), gradient = both({**unets, **tiny_sound.params()})
    terms = {k: float(x) for k, x in figures(told).items() if k in map("loss/{}".format, weights)}
    assert len(terms) == len(weights)
    assert min(terms.values()) > 1e-3
    index = int(np.ceil(float(drawn["place"][0]) * 17))
    alpha, sigma = setup.published_levels(np.linspace(0, 999, 18)[index])
    together = sum(weight * terms[f"loss/{name}"] for name, weight in weights.items())
    assert float(total) == pytest.approx(np.clip((alpha / sigma) ** 2, 1, 5) * together, rel=1e-4)
    moved = {name: setup.norm(tree) for name, tree in gradient.items()}
    assert moved.pop("unet") > 1e-3
    assert moved == dict.fromkeys(moved, 0)
