"""What students and teachers are told of the clips: GPT-2's own LOA, true LOA, or that there is no sound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.distill.audio_space import AudioSpace
from ldm_jax.models.audiomae import AudioMAE
from ldm_jax.train import conditions
from ldm_jax.train.losses.diffusion import interleaved
from ldm_jax.train.losses.roll_out import roll_out
from ldm_jax.train.stages.consistency import ConsistencyStage
from ldm_jax.train.stages.guided import GuidedStage
from ldm_jax.train.stages.progressive import ProgressiveStage
from tests import cases_joint as cases
from tests.golden import FLOAT32_BOUND, relative_error
from tests.train.stages import distillation_setup, joint_setup

pytestmark = pytest.mark.usefixtures("quick_compilation")

TOKENS = 4  # of the grid, pooled by 2


def made(**settings):
    return GuidedStage(
        **{
            "encoded": True,
            "latent_scale": cases.SCALE,
            "time_pools": (2,),
            "loa_grid": cases.GRID,
            **settings,
        }
    )


def given(**drawn):
    noises = distillation_setup.given(**drawn)
    return noises._replace(batch=joint_setup.batch())


def system(kind):
    networks, params = joint_setup.networks(kind, "float32")
    return networks, jax.tree.map(jnp.asarray, params)


def rolled_out(kind):
    """GPT-2's LOA one token after another, as the joint stage differentiates it."""
    networks, params = system(kind)
    batch = joint_setup.batch()
    clap = batch["clap_text"]
    text = None if kind == "speech" else (batch["t5"], batch["t5_mask"])
    condition = conditions.translator_condition(networks, params, batch, clap=clap, text=text)
    return roll_out(networks["gpt2"], params["gpt2"], condition, n_tokens=TOKENS)


@pytest.mark.parametrize("kind", ["base", pytest.param("speech", marks=pytest.mark.slow)])
def test_loa_is_what_gpt2_makes_up(kind):
    networks, params = system(kind)
    spoken = {"speech": True, "contexts": ("loa",)} if kind == "speech" else {}
    stage = made(**spoken)
    told = jax.jit(lambda given: stage.conditional(networks, params, given))(given())
    assert relative_error(told.loa, jax.jit(rolled_out, static_argnums=0)(kind)) < FLOAT32_BOUND
    silent = stage.unconditional(networks, params, given())
    assert silent.loa.shape == told.loa.shape
    assert not silent.loa.any()
    if kind == "base":
        np.testing.assert_array_equal(told.text, joint_setup.batch()["t5"])
        assert silent.text.shape == told.text.shape
        np.testing.assert_array_equal(silent.text_mask[:, :2], [[True, False]] * 3)
    else:
        assert told.text is None


def test_true_loa_now_and_then():
    """(mean + max) / 2 of AudioMAE's patches where that was drawn, at the rate asked for."""
    networks, params = system("base")
    stage = made(ground_truth=0.25)
    function = jax.jit(lambda given: stage.conditional(networks, params, given).loa)
    patches = cases.batch()["loa"].reshape(3, 4, 2, 1, 2, cases.WIDTH)
    true = (patches.mean((2, 4)) + patches.max((2, 4))) / 2
    heard = function(given(true=np.True_))
    assert relative_error(heard, true.reshape(3, TOKENS, cases.WIDTH)) < FLOAT32_BOUND
    imagined = function(given(true=np.False_))
    assert np.abs(np.asarray(imagined - heard)).max() > 0.1

    informed = stage.informed({"teacher": distillation_setup.origin("eps")})

    def drawn(key):
        return informed.draw(networks, key, joint_setup.batch(), jnp.int32(0))["true"]

    keys = jax.random.split(jax.random.key(0), 2000)
    assert float(jax.jit(jax.vmap(drawn))(keys).mean()) == pytest.approx(0.25, abs=0.03)
    always = made(ground_truth=1.0)
    assert relative_error(always.conditional({}, {}, given()).loa, heard) < 1e-6


def test_both_branches_of_a_clip_lie_side_by_side():
    networks, params = system("base")
    stage = made(ground_truth=1.0)
    one, other = (
        getattr(stage, name)(networks, params, given()) for name in ("unconditional", "conditional")
    )
    both = interleaved(one, other)
    for name in ("loa", "text", "text_mask"):
        pair = getattr(both, name)
        np.testing.assert_array_equal(pair[0::2], getattr(one, name))
        np.testing.assert_array_equal(pair[1::2], getattr(other, name))
    assert both.film is None


@pytest.mark.parametrize(
    ("stage", "settings", "needed"),
    [
        (GuidedStage, {}, "teacher vae t5 clap gpt2 translator"),
        (GuidedStage, {"ground_truth": 1.0}, "teacher vae audiomae t5"),
        (GuidedStage, {"ground_truth": 0.5}, "teacher vae audiomae t5 clap gpt2 translator"),
        (GuidedStage, {"contexts": ("text",)}, "teacher vae t5"),
        (GuidedStage, {"contexts": (), "film": True}, "teacher vae clap"),
        (GuidedStage, {"encoded": True}, "teacher gpt2 translator"),
        (ProgressiveStage, {}, "vae t5 clap gpt2 translator"),
        (ProgressiveStage, {"encoded": True, "contexts": ("text",)}, ""),
        (
            ProgressiveStage,
            {"speech": True, "contexts": ("loa",)},
            "vae clap phoneme_encoder gpt2 translator",
        ),
        (ConsistencyStage, {"encoded": True}, "teacher gpt2 translator"),
    ],
)
def test_which_networks_are_needed(stage, settings, needed):
    """No AudioMAE where LOA is imagined, no GPT-2 where it is true, no teacher where it is what the student was."""
    made = stage(**settings)
    assert made.frozen() == tuple(needed.split())
    assert made.kept_as() == ({"teacher": "unet"} if "teacher" in needed else {})
    assert made.given() == made.trained() == ("unet",)


def test_what_hears_is_needed_too():
    def needed(**weights):
        stage = ConsistencyStage(encoded=True, contexts=("text",), audio=AudioSpace(**weights))
        return stage.frozen()

    assert needed() == ("teacher",)
    assert needed(mel=0.3) == ("teacher", "vae")
    assert needed(stft=0.1) == ("teacher", "vae", "vocoder")
    assert needed(clap_text=0.1) == ("teacher", "vae", "vocoder", "clap")


def test_how_many_loa_tokens():
    """Of AudioMAE's patches where they are heard, as many as the teacher was told where they are imagined."""
    networks, _ = system("base")
    origin = distillation_setup.origin("eps")
    stage = made().informed({"teacher": origin})
    assert stage.sampled(networks)["loa_tokens"] == origin.loa_tokens == 8
    heard = {**networks, "audiomae": AudioMAE(img_size=(128, 32), embed_dim=cases.WIDTH)}
    stage = made(ground_truth=0.5).informed({"teacher": origin})
    assert stage.sampled(heard)["loa_tokens"] == TOKENS
    with pytest.raises(ValueError, match="the teacher was told 8 LOA tokens, and time_pools"):
        stage.check({"teacher": networks["unet"], **networks})
