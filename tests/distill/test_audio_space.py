"""Losses by ear: against formulas in NumPy, difference quotients through all networks, and what must not matter."""

import functools
import math

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial.distance

from ldm_jax.audio.clap_features import clap_features
from ldm_jax.audio.sinc_resampling import KAISER_BEST, sinc_resample
from ldm_jax.distill.audio_space import TERMS, AudioSpace, Sound, audio_space_loss, reference_of
from ldm_jax.models import attention
from tests.audio.test_multi_resolution_stft import with_librosa
from tests.distill import tiny_sound
from tests.golden import random_array, relative_error

ALL = AudioSpace(
    latent=0.9,
    mel=0.3,
    stft=0.2,
    clap_text=0.5,
    clap_audio=0.7,
    sample_rate=tiny_sound.RATE,
    seconds=0.28,  # cuts 64 samples off
    centred=True,
)
NETWORKS, PARAMS = tiny_sound.networks(), tiny_sound.params()


def losses(params, latents, given, *, space, networks=NETWORKS):
    """As a training step has it: (losses, terms) of clips, by the arrays of `tiny_sound`."""
    reference = reference_of(
        networks,
        params,
        given["target"],
        space=space,
        sound=given["sound"],
        tokens=(given["ids"], given["mask"]),
    )
    return audio_space_loss(networks, params, latents, reference, space=space)


def test_cosines():
    """scipy's, of vectors of any length, and of stored ones in half precision."""
    x, y = (random_array(name, (3, 8)) for name in "xy")
    expected = [scipy.spatial.distance.cosine(*pair) for pair in zip(x, y, strict=True)]
    for name in ("clap_text", "clap_audio"):
        distance = functools.partial(TERMS[name].distance, jnp.asarray(x, jnp.float32))
        np.testing.assert_allclose(distance(jnp.asarray(3 * y, jnp.float32)), expected, rtol=1e-5)
        half = distance(jnp.asarray(y, jnp.float16))
        assert half.dtype == np.float32
        np.testing.assert_allclose(half, expected, atol=2e-3)


def test_latents_alone_take_no_network():
    given = jax.tree.map(jnp.asarray, tiny_sound.arrays(3))
    x, y = np.asarray(given["latents"]), np.asarray(given["target"])
    loss, terms = losses({}, given["latents"], given, space=AudioSpace(latent=0.25), networks={})
    expected = ((x - y) ** 2).mean((1, 2, 3))
    assert list(terms) == ["latent"]
    np.testing.assert_allclose(terms["latent"], expected, rtol=1e-6)
    np.testing.assert_allclose(loss, 0.25 * expected, rtol=1e-6)


def test_what_no_term_needs_is_not_run():
    """Networks that are not there, and a CLAP without its text tower: only with its term on is that missed."""
    given = tiny_sound.abstract(tiny_sound.arrays(4))
    deaf = {**PARAMS["clap"]}
    deaf.pop("text_model")
    params = {**PARAMS, "clap": deaf}

    def terms(*names, **weights):
        space = AudioSpace(latent=0.0, sample_rate=tiny_sound.RATE, **weights)
        run = functools.partial(
            losses, space=space, networks={name: NETWORKS[name] for name in names}
        )
        loss, terms = jax.eval_shape(run, params, given["latents"], given)
        assert loss.shape == (4,)
        return list(terms)

    assert terms("vae", mel=1) == ["mel"]
    assert terms("vae", "vocoder", stft=1) == ["stft"]
    assert terms("vae", "vocoder", "clap", clap_audio=1) == ["clap_audio"]
    with pytest.raises(flax.errors.ScopeParamNotFoundError, match="text_model"):
        terms("vae", "vocoder", "clap", clap_text=1)
    with pytest.raises(KeyError, match="vocoder"):
        terms("vae", stft=1)


def test_only_the_latents_have_a_gradient():
    """Through the decoder, in float64: a difference quotient of theirs, zeros of all else."""
    space = AudioSpace(latent=0.5, mel=2.0, chunk=2, remat=False)
    with jax.enable_x64(True):
        params = {"vae": jax.tree.map(lambda x: x.astype(jnp.float64), PARAMS["vae"])}
        networks = {"vae": tiny_sound.networks(jnp.float64)["vae"]}
        latents, target, step = (jnp.asarray(random_array(k, (2, 6, 16, 4))) for k in "xyz")
        reference = Sound(target, mel=target.sum(3))

        def loss(params, reference, latents):
            return audio_space_loss(networks, params, latents, reference, space=space)[0].sum()

        run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))
        _, (*others, gradient) = run(params, reference, latents)
        above, below = (float(run(params, reference, latents + h * step)[0]) for h in (1e-5, -1e-5))
        np.testing.assert_allclose((gradient * step).sum(), (above - below) / 2e-5, rtol=1e-7)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(others))


def by_hand(params, latents, given, networks):
    """Every term, from what the networks say: the rest in NumPy."""
    params = {name: {"params": its} for name, its in params.items()}
    run = {
        "vae": jax.jit(lambda x: networks["vae"].apply(params["vae"], x / 0.5, method="decode")),
        "vocoder": jax.jit(lambda x: networks["vocoder"].apply(params["vocoder"], x)),
        "clap": jax.jit(
            lambda x: networks["clap"].apply(params["clap"], given["ids"], given["mask"], x)
        ),
    }
    mels = [np.asarray(run["vae"](x)[..., 0]) for x in (latents, given["target"])]
    waves = [np.asarray(run["vocoder"](mel))[:, :2240] for mel in mels]
    whole = [np.asarray(run["vocoder"](mel)) for mel in mels]
    waves = [w - ((x.max(1) + x.min(1)) / 2)[:, None] for w, x in zip(waves, whole, strict=True)]
    heard = [
        clap_features(sinc_resample(wave, tiny_sound.RATE, 48_000, **KAISER_BEST))
        for wave in (waves[0], given["sound"][:, :2240])
    ]
    (text, ours), (_, true) = (run["clap"](features) for features in heard)
    return {
        "latent": ((latents - given["target"]) ** 2).mean((1, 2, 3)),
        "mel": ((mels[0] - mels[1]) ** 2).mean((1, 2)),
        "stft": [with_librosa(*pair).sum() for pair in zip(*waves, strict=True)],
        "clap_text": 1 - (ours * text).sum(1),
        "clap_audio": 1 - (ours * true).sum(1),
    }


@pytest.mark.slow
def test_every_term_and_its_gradient():
    """In float64, through decoder, vocoder, resampling, spectrogram and tower."""
    with jax.enable_x64(True):
        networks = tiny_sound.networks(jnp.float64)
        params = jax.tree.map(lambda x: x.astype(jnp.float64), PARAMS)
        given = jax.tree.map(jnp.asarray, tiny_sound.arrays(4, np.float64))
        latents = given.pop("latents")

        def loss(latents, weights):
            found, terms = losses(params, latents, given, space=ALL, networks=networks)
            return found @ weights, (found, terms)

        run = jax.jit(jax.value_and_grad(loss, has_aux=True))
        weights = random_array("weights", (4,))
        (_, (found, terms)), gradient = run(latents, weights)
        for name in ("direction", "another"):
            step = 1e-8 * random_array(name, latents.shape)  # the STFT's loss is very curved
            above, below = (float(run(latents + s, weights)[0][0]) for s in (step, -step))
            np.testing.assert_allclose((gradient * step).sum(), (above - below) / 2, rtol=1e-5)
        expected = by_hand(params, latents, given, networks)
    assert set(terms) == set(TERMS)
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-9, err_msg=name)
    total = sum(weight * np.asarray(expected[name]) for name, weight in ALL.weights.items())
    np.testing.assert_allclose(found, total, rtol=1e-9)


@pytest.mark.slow
def test_neither_chunks_nor_remat_matter_but_to_memory():
    """Of all networks, in float64: what is taken grows with the chunk, and only without remat with the batch."""

    def compiled(clips, **options):
        space = AudioSpace(mel=0.3, clap_text=0.5, sample_rate=tiny_sound.RATE, **options)
        named = jax.tree.map(jnp.asarray, tiny_sound.arrays(clips, np.float64))
        text = jnp.asarray(random_array("text", (8, 8)))[:clips]
        reference = Sound(named["target"], mel=named["target"].sum(3), text=text)

        def loss(params, latents, reference):
            found, _ = audio_space_loss(networks, params, latents, reference, space=space)
            return found.sum(), found

        arguments = params, named["latents"], reference
        made = jax.jit(jax.grad(loss, argnums=1, has_aux=True)).lower(*arguments).compile()
        return made.memory_analysis().temp_size_in_bytes, functools.partial(made, *arguments)

    options = ({}, {"chunk": 2}, {"chunk": 4, "remat": False})
    with jax.enable_x64(True):
        networks = tiny_sound.networks(jnp.float64)
        params = jax.tree.map(lambda x: x.astype(jnp.float64), PARAMS)
        (one, two, kept), runs = zip(*(compiled(4, **its) for its in options), strict=True)
        of_eight, _ = compiled(8)
        (gradient, found), *others = (run() for run in runs)
    for other_gradient, other_found in others:
        np.testing.assert_allclose(other_found, found, rtol=1e-12)
        assert relative_error(other_gradient, gradient) < 1e-10
    assert 1.5 * one < two < 2.2 * one
    assert kept > 3 * one
    assert of_eight < 1.05 * one


@pytest.mark.slow
def test_a_gradient_costs_two_evaluations_or_three(monkeypatch):
    """By the compiler's count of operations: nothing is spent on gradients of parameters, nor twice on remat."""
    # It counts a loop's body once, however often it runs.
    monkeypatch.setattr(attention, "_SCORES_PER_HEAD_AT_ONCE", math.inf)
    latents = jax.ShapeDtypeStruct((2, tiny_sound.FRAMES, 16, 4), jnp.float32)
    reference = Sound(latents, clap=jax.ShapeDtypeStruct((2, 8), jnp.float32))

    def operations(transform, *, remat):
        space = AudioSpace(
            latent=0.0, clap_audio=1.0, sample_rate=tiny_sound.RATE, chunk=2, remat=remat
        )

        def loss(latents, params, reference):
            return audio_space_loss(NETWORKS, params, latents, reference, space=space)[0].sum()

        made = jax.jit(transform(loss)).lower(latents, PARAMS, reference).compile()
        return made.cost_analysis()["flops"]

    once = operations(lambda loss: loss, remat=False)
    assert 1.9 * once < operations(jax.value_and_grad, remat=False) < 2.1 * once
    assert 2.9 * once < operations(jax.value_and_grad, remat=True) < 3.1 * once


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mel": -1.0}, "the weight mel is -1.0; it has to be finite, at least 0"),
        ({"stft": float("nan")}, "the weight stft is nan"),
        ({"latent": 0.0}, "every weight is 0; set one of latent, mel, stft, clap_text, clap_audio"),
        ({"chunk": 0}, "chunk is 0, seconds 10.0 and sample_rate 16000; they have to be above 0"),
        ({"seconds": 0.0}, "seconds 0.0"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        AudioSpace(**options)


def test_bad_batches():
    latents = jnp.zeros((3, 4, 4, 2))
    with pytest.raises(ValueError, match=r"clap_text is 0\.1, but the reference has no 'text'"):
        audio_space_loss({}, {}, latents, Sound(latents), space=AudioSpace(clap_text=0.1))
    with pytest.raises(ValueError, match="3 clips cannot be heard 2 at a time"):
        audio_space_loss({}, {}, latents, Sound(latents), space=AudioSpace(chunk=2))
