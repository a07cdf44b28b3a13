"""Students are sampled as they were distilled: held against loops by hand around the UNet alone."""

import dataclasses
import functools
import itertools
import logging
import warnings

import jax
import numpy as np
import pytest

from ldm_jax import AudioLDM2
from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.diffusion.distilled import Distilled
from ldm_jax.parallel.mesh import data_mesh
from ldm_jax.pipeline import synthesis
from ldm_jax.pipeline.prompting import condition
from ldm_jax.profiling import count_flops
from tests.golden import FLOAT32_BOUND, relative_error
from tests.tiny_students import CONSISTENCY, GUIDED, PROGRESSIVE, student, teacher

SHORT = {"seconds": 0.4}
SHAPE = (10, 16, 8)  # of the latents of such a clip
BY_HAND = 1e-5
BETAS = np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2
EDM = np.sqrt(1 / np.cumprod(1 - BETAS) - 1)  # sigma / alpha of AudioLDM 2's schedule


@pytest.fixture(scope="module")
def model_for(folder_of):
    """Students on one device, loaded once."""
    made = {}

    def model(distilled, *, silent=False):
        if (distilled, silent) not in made:
            made[distilled, silent] = opened(student(folder_of("tiny"), distilled, silent=silent))
        return made[distilled, silent]

    return model


@pytest.fixture(scope="module")
def ordinary(folder_of):
    return opened(teacher(folder_of("tiny")))


def opened(checkpoint, *, devices=1, dtype="float32", preset="official"):
    return AudioLDM2(
        checkpoint, preset=preset, dtype=dtype, mesh=data_mesh(jax.devices()[:devices])
    )


def level(timestep):
    """(alpha, sigma) of the schedule, sigma / alpha being linear between whole timesteps."""
    edm = np.interp(timestep, np.arange(1000), EDM)
    return 1 / np.hypot(1, edm), edm / np.hypot(1, edm)


@functools.partial(jax.jit, static_argnames=("unet",))
def call_unet(unet, params, z, timestep, contexts, scale):
    scale = None if unet.guidance_features is None else scale
    return unet.apply({"params": params}, z, timestep, contexts, None, scale)


def by_hand(model, prompt, *, empty=False):
    """network(z, timestep, w) in NumPy, one call of the UNet under a prompt (or the empty one) alone."""
    branches = model.tokenizers.branches(
        [prompt], negatives=[""], transcripts=None, pad_negative=False
    )
    both = (branches.positive, branches.negative if empty else None)
    conditions = condition(
        model.networks, model.weights, *both, loa_tokens=8, generated_loa=False
    ).contexts()
    contexts = [tuple(None if x is None else x[:1] for x in pair) for pair in conditions]
    params = model.weights.of("unet")["unet"]

    def network(z, timestep, scale=0.0):
        z, timestep, scale = (np.array([x], np.float32) for x in (z, timestep, scale))
        out = call_unet(model.networks.unet, params, z, timestep, contexts, scale)
        return np.asarray(out[0], np.float64)

    return network


def noise(seed, index):
    """Noise number `index` of a clip, 0 being what it starts from."""
    key = jax.random.fold_in(jax.random.key(seed), 0)
    return np.asarray(jax.random.normal(jax.random.fold_in(key, index), SHAPE), np.float64)


class Counted(Exception):
    """How much the sampler's program would compute, in its place."""


def count(monkeypatch, model, **asked):
    """FLOPs of the sampler's program as `generate` calls it; nothing is run."""
    original = synthesis.denoise

    def denoise(networks, *arguments, guided):
        program = functools.partial(original, networks, guided=guided)
        raise Counted(count_flops(program, *arguments))

    with monkeypatch.context() as patched:
        patched.setattr(synthesis, "denoise", denoise)
        with pytest.raises(Counted) as counted:
            model.generate("a dog", **SHORT, **asked)
    return counted.value.args[0]


def ddim(network, timesteps, *, scale, z, pure_noise):
    """From each timestep's level to the next, and from the last to clean data; the network predicts v."""
    levels = [level(t) for t in timesteps]
    levels[0] = (0.0, 1.0) if pure_noise else levels[0]
    for t, (alpha, sigma), (alpha_, sigma_) in zip(
        timesteps, levels, [*levels[1:], (1.0, 0.0)], strict=True
    ):
        v = network(z, t, scale)
        z = alpha_ * (alpha * z - sigma * v) + sigma_ * (sigma * z + alpha * v)
    return z


@pytest.mark.parametrize(("pure_noise", "scale"), [(False, None), (True, 5.0)])
def test_a_progressive_student_takes_its_own_ddim_steps(model_for, pure_noise, scale):
    distilled = dataclasses.replace(PROGRESSIVE, pure_noise=pure_noise)
    model = model_for(distilled)
    ours = model.generate("a dog", seed=7, guidance_scale=scale, **SHORT).latents[0]
    network = by_hand(model, "a dog")
    theirs = ddim(
        *(network, distilled.timesteps), scale=scale or 2.5, z=noise(7, 0), pure_noise=pure_noise
    )
    assert relative_error(ours, theirs) < BY_HAND
    other = ddim(*(network, distilled.timesteps), scale=1.0, z=noise(7, 0), pure_noise=pure_noise)
    assert relative_error(ours, other) > 100 * BY_HAND  # the scale is heard


def test_the_stochastic_sampler_goes_two_levels_down_and_one_up(model_for):
    two = dataclasses.replace(PROGRESSIVE, steps=2, timesteps=(999.0, 499.0))
    model = model_for(two)
    with pytest.warns(UserWarning, match="not trained halfway between its 2 levels"):
        ours = model.generate("a dog", seed=7, sampler="progressive-stochastic", **SHORT).latents[0]
    network, z = by_hand(model, "a dog"), noise(7, 0)
    times = [-1, 249, 499, 749, 999]
    levels = [(1.0, 0.0), *(level(t) for t in times[1:])]
    for call, i in enumerate((4, 3, 2, 1), start=1):
        (alpha, sigma), down, up = levels[i], levels[max(i - 2, 0)], levels[i - 1]
        v = network(z, times[i], 2.5)
        z = down[0] * (alpha * z - sigma * v) + down[1] * (sigma * z + alpha * v)
        ratio = up[0] / down[0]
        z = ratio * z + np.sqrt(up[1] ** 2 - ratio**2 * down[1] ** 2) * noise(7, call)
    assert relative_error(ours, z) < BY_HAND


def test_one_step_of_a_consistency_student_is_one_call(model_for):
    model = model_for(CONSISTENCY)
    ours = model.generate("a dog", seed=7, progress=True, **SHORT).latents[0]
    _, sigma = level(999)
    assert relative_error(ours, by_hand(model, "a dog")(sigma * noise(7, 0), 999, 4.0)) < BY_HAND


@pytest.mark.parametrize("stretch", [1.0, 1.01])
def test_four_steps_of_a_consistency_student_are_four_calls_on_its_grid(model_for, stretch):
    """At the schedule's levels or, as on a Karras grid between whole timesteps, at others of its own."""
    rising = np.interp(np.linspace(0, 999, 18), np.arange(1000), EDM) * stretch
    own = () if stretch == 1 else tuple(rising[::-1].tolist())
    model = model_for(dataclasses.replace(CONSISTENCY, edm_sigmas=own))
    with pytest.warns(UserWarning, match="distilled to 1 step; it is sampled in 4"):
        ours = model.generate("a dog", seed=7, steps=4, **SHORT).latents[0]
    network, visited = by_hand(model, "a dog"), (17, 13, 9, 5)
    z = rising[17] / np.hypot(1, rising[17]) * noise(7, 0)
    for call, (here, there) in enumerate(itertools.zip_longest(visited, visited[1:]), start=1):
        x0 = network(z, np.linspace(0, 999, 18)[here], 4.0)
        if there is not None:
            z = (x0 + rising[there] * noise(7, call)) / np.hypot(1, rising[there])
    assert relative_error(ours, x0) < BY_HAND


def test_a_guided_student_starts_as_its_teacher_without_guidance(model_for, ordinary):
    """Where nothing is learned yet, whatever the scale; what is learned depends on it."""
    asked = {"seed": 7, "steps": 3, "eta": 0.0, **SHORT}
    network, z = by_hand(ordinary, "a dog"), noise(7, 0)
    for t, there in ((667, 334), (334, 1), (1, 0)):
        (alpha, sigma), (alpha_, sigma_) = level(t), level(there)
        eps = network(z, t)
        z = alpha_ * (z - sigma * eps) / alpha + sigma_ * eps
    for scale in (None, 6.0):
        ours = model_for(GUIDED, silent=True).generate("a dog", guidance_scale=scale, **asked)
        assert relative_error(ours.latents[0], z) < BY_HAND
    one, other = (
        model_for(GUIDED).generate("a dog", guidance_scale=scale, **asked).latents
        for scale in (1.0, 6.0)
    )
    assert relative_error(one, other) > 100 * BY_HAND


def test_a_student_costs_its_steps_and_no_second_branch(model_for, ordinary, monkeypatch):
    alone = count(monkeypatch, ordinary, steps=3, guidance_scale=1.0)
    assert count(monkeypatch, ordinary, steps=3, guidance_scale=3.0) > 1.5 * alone
    assert count(monkeypatch, model_for(GUIDED), steps=3, guidance_scale=3.0) == alone
    assert count(monkeypatch, model_for(PROGRESSIVE), guidance_scale=3.0) == alone
    assert count(monkeypatch, model_for(CONSISTENCY), guidance_scale=3.0) == alone / 3
    with pytest.warns(UserWarning, match="sampled in 4"):
        assert count(monkeypatch, model_for(CONSISTENCY), steps=4) == alone / 3 * 4


@pytest.mark.slow
def test_a_student_without_guidance_is_guided_from_outside(model_for):
    """Like any other model: where it imitates none, and none is an input of it."""
    distilled = dataclasses.replace(PROGRESSIVE, guidance=(), guidance_scale=1.0)
    model = model_for(distilled)
    c, u = by_hand(model, "a dog"), by_hand(model, "a dog", empty=True)

    def guided(z, t, w):
        return c(z, t) if w == 1 else u(z, t) + w * (c(z, t) - u(z, t))

    for scale in (None, 3.0):
        ours = model.generate("a dog", seed=7, guidance_scale=scale, **SHORT).latents[0]
        given = {"scale": scale or 1.0, "z": noise(7, 0), "pure_noise": False}
        theirs = ddim(guided, distilled.timesteps, **given)
        assert relative_error(ours, theirs) < BY_HAND
    hushed = model.generate("a dog", seed=7, guidance_scale=3.0, negative_prompt="rain", **SHORT)
    assert relative_error(hushed.latents[0], theirs) > 100 * BY_HAND


@pytest.mark.slow
def test_a_students_clip_depends_on_its_prompt_and_seed_alone(model_for, folder_of):
    asked = {"steps": 4, **SHORT}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        alone = model_for(CONSISTENCY).generate("heavy rain", seed=5, **asked)
        several = opened(student(folder_of("tiny"), CONSISTENCY), devices=4)
        prompts = ["a dog barks while techno music plays", "heavy rain", "birds"]
        spread = several.generate(prompts, seed=[1, 5, 9], progress=True, **asked)
    assert spread.audio.shape[0] == 3
    assert relative_error(spread.audio[1], alone.audio[0]) < FLOAT32_BOUND
    assert relative_error(spread.audio[0], alone.audio[0]) > 0.1


@pytest.mark.slow
def test_the_best_candidate_of_a_student_is_kept(model_for):
    model = model_for(CONSISTENCY)
    clips = model.generate("a dog", candidates=3, **SHORT)
    assert np.isfinite(clips.scores).all()
    rows = [
        by_hand(model, "a dog")(level(999)[1] * np.asarray(z, np.float64), 999, 4.0)
        for z in _candidates(3)
    ]
    assert min(relative_error(clips.latents[0], row) for row in rows) < FLOAT32_BOUND


def _candidates(count):
    for candidate in range(count):
        key = jax.random.fold_in(jax.random.key(0), candidate)
        yield jax.random.normal(jax.random.fold_in(key, 0), SHAPE)


def test_another_scale_compiles_nothing(model_for, caplog):
    model = model_for(CONSISTENCY)
    model.generate("a dog barks", seed=1, **SHORT)
    with jax.log_compiles(True), caplog.at_level(logging.WARNING):
        model.generate("heavy rain on a roof", seed=2, guidance_scale=1.5, **SHORT)
    assert [one.message for one in caplog.records if "Compiling" in one.message] == []


def test_a_saved_student_generates_the_same_and_its_records_say_how_it_was_made(
    model_for, tmp_path
):
    model = model_for(PROGRESSIVE)
    model.save_pretrained(tmp_path / "saved")
    again = AudioLDM2.from_pretrained(
        tmp_path / "saved", dtype="float32", devices=jax.devices()[:1]
    )
    assert again.checkpoint.distilled == PROGRESSIVE
    assert Distilled.from_json(again.description["distilled"]) == PROGRESSIVE
    ours, theirs = (one.generate("a dog", **SHORT).audio for one in (again, model))
    assert np.array_equal(ours, theirs)
    with pytest.raises(ValueError, match="no place for how a distilled model is to be sampled"):
        model.save_pretrained(tmp_path / "theirs", layout="diffusers")


def test_half_precision_leaves_the_scales_frequencies_alone(folder_of):
    made = student(folder_of("tiny"), CONSISTENCY)
    drawn = np.array(made.params["unet"]["guidance_embedding"]["frequencies"])
    half = opened(made, dtype="bfloat16")
    unet = half.weights.of("unet")["unet"]
    assert unet["conv_in"]["kernel"].dtype == "bfloat16"
    assert np.array_equal(unet["guidance_embedding"]["frequencies"], drawn)


@pytest.mark.parametrize(
    ("distilled", "change", "message"),
    [
        (PROGRESSIVE, {"steps": 200}, "distilled to 3 steps, so .* takes 3 steps, not 200"),
        (PROGRESSIVE, {"sampler": "ddim"}, "takes sampler 'progressive' or"),
        (PROGRESSIVE, {"eta": 1.0}, "has no eta"),
        (PROGRESSIVE, {"guidance_scale": 7.0}, "guidance_scale from 1 to 6, not 7"),
        (CONSISTENCY, {"steps": 18}, "allow 1 to 17 steps, not 18"),
        (CONSISTENCY, {"negative_prompt": "music"}, "which this distilled checkpoint lacks"),
        (GUIDED, {"negative_prompt": "music"}, "which this distilled checkpoint lacks"),
        (GUIDED, {"sampler": "consistency"}, "distilled by method 'guided'"),
        (GUIDED, {"sampler": "magic"}, "one of ddim.*magic"),
    ],
)
def test_what_a_student_was_not_made_for_is_one_sentence(model_for, distilled, change, message):
    with pytest.raises(ValueError, match=message):
        model_for(distilled).generate("a dog", **{**SHORT, **change})


@pytest.mark.parametrize("sampler", ["progressive", "progressive-stochastic", "consistency"])
def test_samplers_of_students_are_for_students(ordinary, sampler):
    with pytest.raises(ValueError, match=f"'{sampler}' is for .* and this one is not distilled"):
        ordinary.generate("a dog", sampler=sampler, **SHORT)


def test_a_grid_that_is_not_the_schedules_is_refused(model_for):
    strange = dataclasses.replace(PROGRESSIVE, timesteps=(999.0, 500.0, 250.0))
    with pytest.raises(ValueError, match="distilled at timesteps 999 to 250, but by its scheduler"):
        model_for(strange).generate("a dog", **SHORT)


def test_a_scale_as_input_and_its_range_belong_together(folder_of):
    made = student(folder_of("tiny"), GUIDED)
    with pytest.raises(CheckpointError, match="takes a guidance scale as an input"):
        opened(dataclasses.replace(made, distilled=None))
    plain = dataclasses.replace(GUIDED, guidance=())
    with pytest.raises(CheckpointError, match="takes a guidance scale as an input"):
        opened(dataclasses.replace(made, distilled=plain))
    made = student(folder_of("tiny"), plain)
    with pytest.raises(CheckpointError, match="takes no guidance scale as an input"):
        opened(dataclasses.replace(made, distilled=GUIDED))
