import jax
import numpy as np
import pytest
from flax import traverse_util

from ldm_jax import AudioLDM2
from ldm_jax.convert.load import load
from ldm_jax.parallel.mesh import data_mesh
from ldm_jax.pipeline import conditioning
from ldm_jax.pipeline.prompting import with_needed_rows
from ldm_jax.pipeline.weights import RARE, Weights


def flat(params):
    return traverse_util.flatten_dict(params, sep="/")


@pytest.fixture
def loaded(folder_of):
    return flat(load(folder_of("tiny")).params)


@pytest.fixture
def weights(folder_of):
    mesh = data_mesh(jax.devices()[:2])
    return Weights(load(folder_of("tiny")).params, mesh, np.float32)


def test_rare_parts_are_placed_when_asked_for(weights, loaded):
    names = ("clap", "t5", "gpt2", "vae")
    common, everything = flat(weights.of(*names)), flat(weights.of(*names, rare=True))
    rare = {path for path in everything if path not in common}
    prefixes = tuple(f"{name}/{path}/" for name in names for path in RARE[name])
    assert rare == {path for path in loaded if path.startswith(prefixes)}
    others = [prefix for prefix in prefixes if not any(path.startswith(prefix) for path in rare)]
    assert others == ["t5/embeddings/word_embeddings/"]  # of a BERT
    for path, x in everything.items():
        assert x.sharding.is_fully_replicated
        assert len(x.devices()) == 2
        np.testing.assert_array_equal(x, loaded[path])
    assert weights.of("translator", "audiomae").keys() == {"translator"}


def test_generating_places_only_what_it_reads(folder_of):
    """Token tables and the encoder's side of things stay in the files; candidates need both of CLAP's towers."""
    model = AudioLDM2.from_pretrained(
        folder_of("tiny"), preset="diffusers", dtype="float32", devices=jax.devices()[:1]
    )
    prefixes = {name: tuple(f"{name}/{path}/" for path in RARE[name]) for name in RARE}

    def placed(name):
        return {path for path in flat(model.weights.of(*RARE)) if path.startswith(prefixes[name])}

    model.generate("rain", seconds=0.4, steps=3)
    assert not any(placed(name) for name in RARE)
    model.generate("rain", seconds=0.4, steps=3, candidates=2)
    assert placed("clap")
    assert not any(placed(name) for name in ("t5", "gpt2", "vae"))


def test_an_array_is_placed_once(weights):
    first, second = (flat(weights.of("vae")) for _ in range(2))
    assert all(first[path] is second[path] for path in first)


@pytest.mark.parametrize("rare", [False, True])
def test_all_can_be_gathered(weights, loaded, rare):
    weights.of("clap", "unet", rare=rare)
    gathered = flat(weights.gathered())
    assert gathered.keys() == loaded.keys()
    for path, x in loaded.items():
        np.testing.assert_array_equal(gathered[path], x)


@pytest.mark.parametrize("size", ["tiny", "tiny-bert"])
def test_a_few_rows_serve_as_the_whole_table(model_of, size):
    model = model_of(size)
    prompts = ["a dog barks, and a dog barks", "rain"]
    tokens = model.tokenizers.branches(
        prompts, negatives=["", ""], transcripts=None, pad_negative=False
    ).positive
    small, params, fewer = with_needed_rows(model.networks, model.weights, tokens)
    assert small.t5.vocab_size == tokens.text_ids.size
    tables = {
        name: flat({name: params[name]})[f"{name}/{getattr(small, name).token_table}"]
        for name in ("t5", "clap")
    }
    assert tables["t5"].shape[0] == small.t5.vocab_size
    assert tables["clap"].shape[0] == tokens.clap_ids.size
    ours = conditioning.encode(small, params, fewer, loa_tokens=2)
    theirs = conditioning.encode(model.networks, model.params, tokens, loa_tokens=2)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_bert_draws_clips_without_its_table(folder_of):
    model = AudioLDM2.from_pretrained(folder_of("tiny-bert"), devices=jax.devices()[:1])
    clips = model.generate(["rain", "a dog"], seconds=0.4, steps=2)
    assert np.isfinite(clips.audio).all()
    assert not np.array_equal(*clips.latents)
    paths = flat(model.weights.of("t5"))
    assert not any("word_embeddings" in path for path in paths)
    assert paths
