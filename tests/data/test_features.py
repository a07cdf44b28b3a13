"""What batches hold: shapes for every stage, and numbers against the front ends called by hand."""

import numpy as np
import pytest

from ldm_jax.audio.clap_features import clap_features
from ldm_jax.audio.kaldi import audiomae_input
from ldm_jax.audio.log_mel import MEL_16K, MEL_48K, log_mel
from ldm_jax.audio.resampling import resample
from ldm_jax.convert import random_tokenizers
from ldm_jax.data.features import (
    STAGES,
    AudioMAEInput,
    ClapAudio,
    LogMel,
    Magnitude,
    Phonemes,
    Text,
    TextTokenizers,
    Tokens,
    Wave,
)
from ldm_jax.data.segments import Segment
from ldm_jax.text.phonemes import STOP, PhonemeTokenizer, phoneme_ids
from ldm_jax.text.tokenizers import load_tokenizer

SOUND = 100_000


@pytest.fixture(scope="module")
def made():
    """10.24 s, of which 6.25 s sound."""
    rng = np.random.default_rng(0)
    wave = np.zeros(163_840, np.float32)
    wave[:SOUND] = 0.5 * np.sin(0.05 * np.cumsum(rng.uniform(0, 2, SOUND)))
    return Segment(
        wave=wave,
        sample_rate=16_000,
        samples=SOUND,
        caption="a dog barks",
        transcript="Good morning.",
        labels=(),
        start=0.0,
    )


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folders = [tmp_path_factory.mktemp(name) for name in ("roberta", "t5")]
    random_tokenizers.write_roberta(folders[0])
    random_tokenizers.write_t5(folders[1])
    clap, t5 = map(load_tokenizer, folders)
    return TextTokenizers(clap=clap, t5=t5, clap_length=32, t5_length=24)


def all_of(features, segment):
    return {name: x for feature in features for name, x in feature(segment).items()}


TOKENS = {"clap_ids": (32,), "clap_mask": (32,), "t5_ids": (24,), "t5_mask": (24,)}
CLAP_TOKENS = {name: TOKENS[name] for name in ("clap_ids", "clap_mask")}


@pytest.mark.parametrize(
    ("stage", "mel", "shapes"),
    [
        ("vae", MEL_16K, {"log_mel": (1024, 64)}),
        ("vae", MEL_48K, {"log_mel": (1024, 256)}),
        ("vocoder", MEL_16K, {"wave": (163_840,), "samples": (), "log_mel": (1024, 64)}),
        ("vocoder", MEL_48K, {"wave": (491_520,), "samples": (), "log_mel": (1024, 256)}),
        ("audiomae", MEL_16K, {"fbank": (1024, 128)}),
        ("clap", MEL_16K, {"clap_audio": (1001, 64), **CLAP_TOKENS}),
        ("translator", MEL_16K, {"fbank": (1024, 128), **TOKENS}),
        ("ldm", MEL_16K, {"log_mel": (1024, 64), "fbank": (1024, 128), **TOKENS}),
        (
            "ldm_clap_audio",
            MEL_16K,
            {"log_mel": (1024, 64), "fbank": (1024, 128), "clap_audio": (1001, 64), **TOKENS},
        ),
    ],
)
def test_stages_have_what_they_need(made, text, stage, mel, shapes):
    arrays = all_of(STAGES[stage](text, mel, 10.24), made)
    assert {name: x.shape for name, x in arrays.items()} == shapes
    kinds = {name: x.dtype for name, x in arrays.items()}
    wanted = {"ids": np.int32, "mask": np.bool_, "samples": np.int32}
    assert kinds == {name: wanted.get(name.split("_")[-1], np.float32) for name in kinds}


def test_features_are_the_front_ends_numbers(made):
    arrays = all_of((LogMel(), AudioMAEInput(), Wave(), Magnitude()), made)
    np.testing.assert_array_equal(arrays["log_mel"], log_mel(made.wave))
    np.testing.assert_array_equal(arrays["fbank"], audiomae_input(made.wave))
    np.testing.assert_array_equal(arrays["wave"], made.wave)
    assert arrays["samples"] == SOUND
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    frame = made.wave[160 * 100 - 432 :][:1024] * window
    bins = np.exp(-2j * np.pi * np.outer(np.arange(512), np.arange(1024)) / 1024) @ frame
    error = np.abs(arrays["magnitude"][100] - np.abs(bins)).max()
    assert error < 1e-5 * np.abs(bins).max()
    assert arrays["magnitude"].shape == (1024, 512)


def test_frames_are_filled_with_zeros_and_cut(made):
    longer = LogMel(frames=1030)(made)["log_mel"]
    assert (longer[1024:] == 0).all()
    np.testing.assert_array_equal(LogMel(frames=1000)(made)["log_mel"], longer[:1000])


def test_clap_hears_the_sound_without_its_padding(made):
    heard = ClapAudio()(made)["clap_audio"]
    sound = resample(made.wave[:SOUND], 16_000, 48_000)
    np.testing.assert_array_equal(heard, clap_features(sound))
    # 6.25 s fit once in 10 s, and silence follows.
    assert (heard[640:] < heard.max() - 80).all()


def test_wave_at_another_rate(made):
    arrays = Wave(sample_rate=48_000)(made)
    assert arrays["wave"].shape == (491_520,)
    assert arrays["samples"] == 3 * SOUND


def test_tokens_are_padded_and_cut(made, text):
    tokens = Tokens(name="t5", tokenizer=text.t5, length=24)(made)
    alone = text.t5(["a dog barks"])
    count = alone.ids.shape[1]
    assert tokens["t5_mask"].tolist() == [True] * count + [False] * (24 - count)
    np.testing.assert_array_equal(tokens["t5_ids"][:count], alone.ids[0])
    short = Tokens(name="t5", tokenizer=text.t5, length=2)(made)["t5_ids"]
    assert short.shape == (2,)
    assert short[-1] == alone.ids[0][-1]  # the end of text stays


def test_phonemes(made):
    spoken = Phonemes()(made)
    expected = phoneme_ids(["Good morning."], PhonemeTokenizer())
    np.testing.assert_array_equal(spoken["phoneme_ids"], expected.ids[0])
    np.testing.assert_array_equal(spoken["phoneme_mask"], expected.mask[0])
    assert expected.ids[0][expected.mask[0]][-1] == STOP


def test_text_stays_text(made):
    arrays = Text()(made)
    assert str(arrays["caption"]) == "a dog barks"
    assert str(arrays["transcript"]) == "Good morning."
