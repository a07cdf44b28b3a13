import logging

import jax
import numpy as np
import pytest

from ldm_jax import AudioLDM2
from ldm_jax.config import Generation
from ldm_jax.convert import native, single
from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.pipeline.synthesis import segment_length
from tests.golden import FLOAT32_BOUND, relative_error

SHORT = {"seconds": 0.4, "steps": 3}


@pytest.fixture(scope="module")
def official(model_of):
    return model_of("tiny", preset="official")


def test_presets_differ_and_official_is_stochastic(model_of, official):
    ours = official.generate("a dog", **SHORT).audio
    assert relative_error(official.generate("a dog", seed=1, **SHORT).audio, ours) > 0.1
    assert relative_error(model_of("tiny").generate("a dog", **SHORT).audio, ours) > 0.1
    assert official.networks.unet.head_dim == 32
    assert model_of("tiny").networks.unet.heads == 4


def test_a_clip_depends_on_its_prompt_and_seed_alone(official, folder_of):
    """Not on its neighbours, its place, how many devices draw it, nor whether progress is shown."""
    alone = official.generate("heavy rain", seed=5, negative_prompt="soft", **SHORT)
    prompts = ["a dog barks while techno music plays", "heavy rain", "birds"]
    negatives = ["", "soft", "a woman speaks softly with a strong beat"]
    beside = official.generate(prompts, seed=[1, 5, 9], negative_prompt=negatives, **SHORT)
    assert relative_error(beside.audio[1], alone.audio[0]) < FLOAT32_BOUND
    several = AudioLDM2.from_pretrained(
        folder_of("tiny"), preset="official", dtype="float32", devices=jax.devices()[:4]
    )
    spread = several.generate(
        prompts, seed=[1, 5, 9], negative_prompt=negatives, progress=True, **SHORT
    )
    assert spread.audio.shape == beside.audio.shape
    assert relative_error(spread.audio, beside.audio) < FLOAT32_BOUND
    assert relative_error(spread.audio[0], spread.audio[2]) > 0.1


@pytest.mark.slow
def test_only_rounding_depends_on_neighbours(folder_of):
    """In float64 the same clip to float32's last digits, where float32 itself leaves 2e-5."""
    with jax.enable_x64(True):
        model = AudioLDM2.from_pretrained(
            folder_of("tiny"), preset="official", dtype="float64", devices=jax.devices()[:1]
        )
        alone = model.generate("heavy rain", seed=5, negative_prompt="soft", **SHORT)
        beside = model.generate(
            ["a dog barks while techno music plays", "heavy rain"],
            seed=[1, 5],
            negative_prompt=["", "soft"],
            **SHORT,
        )
    assert relative_error(beside.latents[1], alone.latents[0]) < 1e-7
    assert relative_error(beside.audio[1], alone.audio[0]) < 1e-7


def test_the_best_candidate_is_kept(official):
    clips = official.generate(["a dog", "rain"], candidates=3, **SHORT)
    assert clips.audio.shape[0] == 2
    assert np.isfinite(clips.scores).all()
    assert (np.abs(clips.scores) <= 1).all()
    single = official.generate("a dog", **SHORT)  # candidate 0 of the first prompt
    more = official.generate("a dog", candidates=3, **SHORT)
    assert relative_error(more.audio, clips.audio[:1]) < FLOAT32_BOUND
    again = official.generate("a dog", candidates=1, **SHORT)
    assert np.array_equal(again.audio, single.audio)


def test_second_call_compiles_nothing(official, caplog):
    official.generate("a dog barks", seed=1, **SHORT)
    with jax.log_compiles(True), caplog.at_level(logging.WARNING):
        official.generate(
            "heavy rain on a roof", seed=2, negative_prompt="music", guidance_scale=2.0, **SHORT
        )
    compiled = [record.message for record in caplog.records if "Compiling" in record.message]
    assert compiled == []


@pytest.mark.parametrize("seconds", [0.01, 0.123, 1.0])
def test_any_length(official, seconds):
    clips = official.generate("a dog", seconds=seconds, steps=1)
    assert clips.audio.shape == (1, round(seconds * 16_000))
    assert np.isfinite(clips.audio).all()


def test_saved_folder_generates_the_same(official, tmp_path):
    official.save_pretrained(tmp_path / "saved")
    again = AudioLDM2.from_pretrained(
        tmp_path / "saved", dtype="float32", devices=jax.devices()[:1]
    )
    assert again.preset.name == "official"
    assert np.array_equal(
        again.generate("a dog", **SHORT).audio, official.generate("a dog", **SHORT).audio
    )


def test_bfloat16_stays_near(model_of, folder_of):
    half = AudioLDM2.from_pretrained(
        folder_of("tiny"), preset="diffusers", dtype="bfloat16", devices=jax.devices()[:1]
    )
    full = model_of("tiny")
    latents = np.random.RandomState(0).standard_normal((1, 10, 16, 8)).astype(np.float32)
    ours = half.generate("a dog", latents=latents, **SHORT).latents
    assert 0 < relative_error(ours, full.generate("a dog", latents=latents, **SHORT).latents) < 0.1


def test_long_prompt_is_cut_with_a_warning(official):
    prompt = "a dog barks " * 60 + "zebra"
    with pytest.warns(
        UserWarning, match=r"longer than the text encoder's 128 tokens; left out: .*zebra"
    ):
        official.generate(prompt, **SHORT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": ""}, "empty"),
        ({"prompts": ["a", " "]}, "prompt 1 is empty"),
        ({"prompts": []}, "no prompt"),
        ({"seconds": 0}, "seconds must be above 0"),
        ({"seconds": float("nan")}, "seconds must be"),
        ({"seconds": 1e6}, "seconds must be"),
        ({"steps": 0}, "steps must be from 1"),
        ({"steps": 1001}, "steps must be from 1 to 1000"),
        ({"guidance_scale": -1.0}, "guidance_scale must be"),
        ({"sampler": "magic"}, "one of ddim.*magic"),
        ({"sampler": "euler", "eta": 0.5}, "euler has no eta"),
        ({"eta": 2.0}, "eta must be"),
        ({"seed": -1}, "seed must be"),
        ({"seed": [1, 2]}, "2 values of seed for 1 prompts"),
        ({"candidates": 0}, "candidates must be"),
        ({"transcript": "hello"}, "no phoneme encoder"),
        ({"latents": np.zeros((1, 3, 16, 8))}, r"latents should have shape \(1, 10, 16, 8\)"),
    ],
)
def test_bad_input_is_one_sentence(official, change, message):
    with pytest.raises(ValueError, match=message):
        official.generate(**{"prompts": "a dog", **SHORT, **change})


def test_a_model_that_speaks_wants_words(model_of):
    speaks = model_of("tiny-speech", loa_tokens=24)
    with pytest.raises(ValueError, match="give a transcript"):
        speaks.generate("a woman", **SHORT)
    with pytest.raises(ValueError, match="transcript is empty"):
        speaks.generate("a woman", transcript=" ", **SHORT)


def test_words_change_speech(model_of):
    speaks = model_of("tiny-speech", loa_tokens=24)
    first, second = (
        speaks.generate("a woman", transcript=words, **SHORT).audio
        for words in ("Hello there.", "Good morning, everyone!")
    )
    assert relative_error(first, second) > 1e-3


def test_unknown_preset_and_layout(folder_of, official, tmp_path):
    with pytest.raises(ValueError, match="unknown preset 'best'"):
        AudioLDM2.from_pretrained(folder_of("tiny"), preset="best")
    with pytest.raises(ValueError, match="unknown layout"):
        official.save_pretrained(tmp_path / "x", layout="zip")
    assert not (tmp_path / "x").exists()


def test_one_network_alone_cannot_generate(folder_of, tmp_path):
    native.save(single.load(folder_of("tiny") / "text_encoder", "clap"), tmp_path / "clap")
    with pytest.raises(CheckpointError, match="cannot generate: it has no unet, vae, vocoder"):
        AudioLDM2.from_pretrained(tmp_path / "clap")


def test_segments_divide():
    for calls in range(1, 300):
        assert calls % segment_length(calls) == 0
    assert segment_length(200) == 20
    assert segment_length(25) == 1


def test_defaults_are_the_published_ones():
    default = Generation()
    assert (default.seconds, default.steps, default.guidance_scale) == (10.24, 200, 3.5)
