"""Latents to waves to CLAP's vectors inside a program: against the way through NumPy; clips in groups."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.audio.clap_features import clap_features
from ldm_jax.audio.sinc_resampling import KAISER_BEST, sinc_resample
from ldm_jax.distill import hearing
from ldm_jax.parallel.collectives import collectives
from ldm_jax.parallel.mesh import data_mesh, replicated, rows
from tests.distill import tiny_sound
from tests.golden import random_array, relative_error

NETWORKS, PARAMS = tiny_sound.networks(), tiny_sound.params()


def test_waves():
    """The decoder's and the vocoder's own methods, one after the other; extremes opposite on demand."""
    latents = tiny_sound.arrays(2)["latents"]
    vae, vocoder = NETWORKS["vae"], NETWORKS["vocoder"]

    @jax.jit
    def made(latents):
        mel = vae.apply({"params": PARAMS["vae"]}, latents / 0.5, method="decode")
        expected = vocoder.apply({"params": PARAMS["vocoder"]}, mel[..., 0])
        plain, centred = (
            hearing.waves_of(NETWORKS, PARAMS, latents, centred=centred)
            for centred in (False, True)
        )
        return expected, plain, centred

    expected, plain, centred = made(latents)
    assert plain.shape == (2, tiny_sound.FRAMES * tiny_sound.HOP)
    assert relative_error(plain, expected) < 1e-6
    np.testing.assert_allclose(centred.max(1), -centred.min(1), rtol=1e-5)
    np.testing.assert_allclose(np.ptp(plain - centred, axis=1), 0, atol=1e-6)
    assert np.abs(plain.max(1) + plain.min(1)).min() > 1e-3


@pytest.mark.parametrize("seconds", [0.5, 10.5])
def test_clap_hears_what_numpy_computes(seconds):
    """Resampled and made a spectrogram of on the host; a clip of more than 10 s is cut."""
    waves = 0.1 * random_array("waves", (2, round(seconds * 16_000))).astype(np.float32)
    clap = NETWORKS["clap"]
    features = clap_features(sinc_resample(waves.astype(np.float64), 16_000, 48_000, **KAISER_BEST))
    embed = jax.jit(lambda x: clap.apply({"params": PARAMS["clap"]}, x, method="embed_audio"))
    expected = embed(features.astype(np.float32))
    hear = jax.jit(lambda x: hearing.clap_embedding_of(NETWORKS, PARAMS, x, rate=16_000))
    ours = hear(waves)
    assert relative_error(ours, expected) < 1e-5
    assert np.abs(ours[0] - ours[1]).max() > 1e-3
    np.testing.assert_allclose(jnp.linalg.norm(ours, axis=1), 1, rtol=1e-6)


def test_fusion_is_refused():
    clap = NETWORKS["clap"]
    fused = {"clap": clap.clone(audio=clap.audio.clone(fusion=True))}
    with pytest.raises(ValueError, match=r"has fusion, .* take one without"):
        hearing.clap_embedding_of(fused, PARAMS, jnp.ones((1, 2_000)), rate=16_000)


@pytest.mark.parametrize("chunk", [1, 2, 3, 6])
def test_groups_are_the_whole(chunk):
    """Trees in and out, clips in their order; each call sees `chunk` of them."""
    clips = {"a": random_array("a", (6, 3)), "b": np.arange(6.0)}
    sizes = []

    def function(clips, scale):
        sizes.append(len(clips["a"]))
        return {"sum": clips["a"].sum(1) * scale, "square": clips["b"] ** 2}

    scale = np.arange(1.0, 7.0)
    found = hearing.in_groups(
        function, jax.tree.map(jnp.asarray, clips), jnp.asarray(scale), chunk=chunk
    )
    assert set(sizes) == {chunk}
    np.testing.assert_allclose(found["sum"], clips["a"].sum(1) * scale, rtol=1e-6)
    np.testing.assert_array_equal(found["square"], clips["b"] ** 2)


def test_groups_must_be_equal():
    with pytest.raises(ValueError, match="6 clips cannot be heard 4 at a time"):
        hearing.in_groups(jnp.sin, jnp.ones(6), chunk=4)


def test_each_device_hears_its_own_clips():
    """Rows divided among 8 devices, 8 or 16 at once: nothing is sent, forwards or back; 4 at once would be."""
    mesh = data_mesh()
    clips = jax.ShapeDtypeStruct((32, 64), jnp.float32, sharding=rows(mesh))
    matrix = jax.ShapeDtypeStruct((64, 64), jnp.float32, sharding=replicated(mesh))

    def sent(chunk):
        def heard(clips, matrix):
            return hearing.in_groups(lambda x: jnp.tanh(x @ matrix).sum(1), clips, chunk=chunk)

        def gradient(clips, matrix):
            return jax.grad(lambda x: heard(x, matrix).sum())(clips)

        compiled = jax.jit(gradient, out_shardings=rows(mesh)).lower(clips, matrix).compile()
        return collectives(compiled.as_text(), devices=8)

    assert sent(8) == sent(16) == {}
    assert sent(4) != {}
