"""Training examples from encodings: the same for any grouping, at the rates asked, with captions of their clips."""

import copy
import dataclasses
import itertools

import numpy as np
import pytest

from ldm_jax.convert.random_checkpoint import tiny
from ldm_jax.data.encoded_examples import encoded_examples, uniforms
from ldm_jax.data.encoding.reading import open_encoding
from ldm_jax.data.stream import host_batches
from ldm_jax.train.config import Data, Training, architectures
from ldm_jax.train.examples import encoded_batch_of_nothing
from ldm_jax.train.setting_up import setup
from ldm_jax.train.stages.joint import JointStage


@pytest.fixture(scope="module")
def sets(prepared, folder):
    return tuple(open_encoding(prepared, split) for split in ("train", "test"))


def same(one, other):
    return set(one) == set(other) and all((one[k] == other[k]).all() for k in one)


def test_rows_are_those_of_the_encodings(sets):
    batch = encoded_examples(sets, weights=(0.75, 0.25), seed=1).batch(np.arange(4096))
    assert np.bincount(batch["set"]).tolist() == [3072, 1024]
    for place in range(0, 4096, 97):
        encodings = sets[batch["set"][place]]
        window = int(batch["window"][place])
        texts = [
            encodings.batch([window], captions=[number], text_length=batch["t5"].shape[1])
            for number in encodings.captions_of(window).tolist()
        ]
        mine = {k: x[place] for k, x in batch.items() if k in texts[0]}
        assert any(same(mine, {k: x[0] for k, x in text.items()}) for text in texts)


def test_every_row_has_the_empty_caption(sets):
    batch = encoded_examples(sets, seed=1).batch(np.arange(3))
    empty = sets[0].batch([0], captions=[0], what=("t5", "clap_text"))
    tokens = int(empty["t5_mask"].sum())
    assert 0 < tokens < empty["t5"].shape[1]
    for row in range(3):
        np.testing.assert_array_equal(batch["empty_t5"][row], empty["t5"][0, :tokens])
        np.testing.assert_array_equal(batch["empty_clap_text"][row], empty["clap_text"][0])


def test_captions_are_drawn_evenly(sets):
    batch = encoded_examples(sets[:1], seed=1).batch(np.arange(6000))
    window = next(w for w in range(len(sets[0])) if len(sets[0].captions_of(w)) == 3)
    here = batch["clap_text"][batch["window"] == window]
    numbers = sets[0].captions_of(window)
    vectors = sets[0].batch([window] * 3, captions=numbers, what=("clap_text",))["clap_text"]
    counts = [(here == vector).all(axis=1).sum() for vector in vectors]
    expected = len(here) / 3
    assert sum(counts) == len(here)
    # Chi squared with 2 degrees of freedom, odds of one in a thousand.
    assert sum((count - expected) ** 2 / expected for count in counts) < 13.8
    first = encoded_examples(sets[:1], seed=1, caption="first").batch(np.arange(6000))
    assert (first["clap_text"][first["window"] == window] == vectors[0]).all()


def test_grouping_threads_and_restarts_change_nothing(sets):
    source = encoded_examples(sets, seed=1)
    whole = source.batch(np.arange(64))
    alone = [source.batch(np.array([place])) for place in range(64)]
    assert same(whole, {k: np.concatenate([row[k] for row in alone]) for k in whole})
    for threads, start in ((0, 0), (4, 3)):
        batches = host_batches(source, batch=8, start=start, threads=threads)
        for step, batch in enumerate(itertools.islice(batches, 3), start=start):
            assert same(batch, {k: x[step * 8 : step * 8 + 8] for k, x in whole.items()})


def test_only_what_is_asked_for(sets):
    batch = encoded_examples(sets, what=("latents",)).batch(np.arange(4))
    assert set(batch) == {"set", "window", "samples", "latents"}


def test_uniforms_are_uniform_and_independent():
    draws = uniforms(3, np.arange(200_000))
    assert draws.min() >= 0
    assert draws.max() < 1
    counts, _ = np.histogram(draws, bins=100, range=(0, 1))
    assert ((counts - 2000) ** 2 / 2000).sum() < 149  # chi squared, odds of one in a thousand
    for lag in (1, 2, 64):
        assert abs(np.corrcoef(draws[:-lag], draws[lag:])[0, 1]) < 0.01
    other = uniforms(4, np.arange(200_000))
    for shift in range(3):  # the neighbouring seed is not the same stream, moved
        assert abs(np.corrcoef(draws[shift:], other[: len(other) - shift])[0, 1]) < 0.01


def test_sets_of_other_settings_are_refused(sets):
    other = copy.copy(sets[1])
    other.settings = dataclasses.replace(other.settings, clap_padding="pad")
    with pytest.raises(ValueError, match="was encoded with other settings than"):
        encoded_examples((sets[0], other))


def test_a_batch_of_nothing_is_like_one_of_theirs(sets):
    batch = encoded_examples(sets, seed=1).batch(np.arange(3))
    networks = {name: tiny()[name] for name in ("unet", "gpt2", "translator")}
    config = Training(
        name="encoded",
        stage=JointStage(encoded=True, loa_grid=(8, 8), latent_scale=1.0),
        networks=architectures(**networks),
        data=Data(prepared=("nowhere",), encoded=True, seconds=1.28),
    )
    nothing = encoded_batch_of_nothing(
        *(config, setup(config).features, networks | {"vae": tiny()["vae"]}),
        rows=3,
        tokens=batch["t5"].shape[1],
    )
    loa = nothing.pop("loa")
    assert (loa.shape, loa.dtype) == ((3, 64, batch["loa"].shape[2]), batch["loa"].dtype)
    assert "latents" in nothing
    assert nothing.keys() < batch.keys()
    for name, x in nothing.items():
        assert (name, x.shape, x.dtype) == (name, batch[name].shape, batch[name].dtype)
