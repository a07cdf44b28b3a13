"""Losses on what is heard of a student against ConsistencyTTA's, with tiny networks where theirs are loaded."""

import types
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.audio.sinc_resampling import KAISER_BEST, sinc_resample
from ldm_jax.diffusion import schedules, weightings
from ldm_jax.distill import audio_space, consistency
from ldm_jax.distill.grid import uniform_grid
from tests import cases_distill_consistency as cases
from tests.golden import FLOAT32_BOUND, FLOAT64_BOUND, load, relative_error

BOUNDS = {"float32": FLOAT32_BOUND, "float64": FLOAT64_BOUND}


class Decoder(nn.Module):
    """In place of the VAE."""

    dtype: Any

    @nn.compact
    def decode_scaled(self, z):
        to_mel = self.param("to_mel", nn.initializers.zeros, (64, 96))
        flat = z.transpose(0, 3, 1, 2).reshape(len(z), -1)
        return jnp.tanh(flat @ to_mel).reshape(-1, *cases.MEL, 1)


class Vocoder(nn.Module):
    dtype: Any

    @nn.compact
    def __call__(self, mel):
        to_partials = self.param("to_partials", nn.initializers.zeros, (96, 6))
        partials = self.param("partials", nn.initializers.zeros, (6, cases.SAMPLES))
        return jnp.tanh(mel.reshape(len(mel), -1) @ to_partials @ partials) / 2


class Clap(nn.Module):
    """In place of CLAP, from its spectrogram on."""

    @property
    def audio(self):
        return types.SimpleNamespace(fusion=False)

    @nn.compact
    def embed_audio(self, features):
        to_hidden = self.param("to_hidden", nn.initializers.zeros, (64, 10))
        to_clap = self.param("to_clap", nn.initializers.zeros, (10, 5))
        said = jnp.tanh(features @ to_hidden).mean(axis=1) @ to_clap
        return said / jnp.linalg.norm(said, axis=-1, keepdims=True)


def stand_ins(dtype):
    """(networks, their parameters)."""
    arrays = {name: jnp.asarray(x, dtype) for name, x in cases.audio_weights().items()}
    parts = {
        "vae": (Decoder(dtype), ("to_mel",)),
        "vocoder": (Vocoder(dtype), ("to_partials", "partials")),
        "clap": (Clap(), ("to_hidden", "to_clap")),
    }
    networks = {name: module for name, (module, _) in parts.items()}
    return networks, {name: {k: arrays[k] for k in keys} for name, (_, keys) in parts.items()}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("clap", "float64"),
        ("mel", "float64"),
        pytest.param("stft", "float64", marks=pytest.mark.slow),
        pytest.param("clap", "float32", marks=pytest.mark.slow),
    ],
)
def test_stage_3(name, dtype):
    """What is heard of the student's output: its loss, and the gradient with respect to that output."""
    expected = cases.found("stage_3", name)
    space = audio_space.AudioSpace(**cases.LOSSES[name], sample_rate=cases.RATE, chunk=2)
    with jax.enable_x64(dtype == "float64"):
        networks, parameters = stand_ins(dtype)
        heard = {key: jnp.asarray(x, dtype) for key, x in cases.heard().items()}
        target = jnp.asarray(expected["target"], dtype)
        grid = uniform_grid(schedules.scaled_linear(**cases.BETAS))
        min_snr = weightings.weighting("min_snr", gamma=cases.GAMMA)
        weights = consistency.level_weights(grid, min_snr)[grid.steps - cases.INTERVALS]

        @jax.jit
        def run(output):
            reference = audio_space.reference_of(
                networks, parameters, target, space=space, sound=heard["wave"]
            )
            reference = reference._replace(text=heard["text"])

            def loss(output):
                distances, _ = audio_space.audio_space_loss(
                    networks, parameters, output, reference, space=space
                )
                losses = jnp.asarray(weights, dtype) * distances
                return losses.mean(), losses

            return jax.value_and_grad(loss, has_aux=True)(output)

        (loss, losses), gradient = run(jnp.asarray(expected["output"], dtype))
        ours = {"losses": losses, "loss": loss, "gradient": gradient}
        ours["distances"] = losses / weights
        for key, value in ours.items():
            error = relative_error(value, expected[key])
            assert error < BOUNDS[dtype], (key, error)


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_resampling(array):
    """To 48 kHz, with the options that they give to torchaudio."""
    with jax.enable_x64(True):
        short = array(cases.heard()["short"].astype(np.float64))
        ours = sinc_resample(short, cases.RATE, 48_000, **KAISER_BEST)
        expected = load("distill_consistency_stage_3")[1]["resampled"]
        # Ours makes filters as torchaudio's transform, with one quotient in float32, which its function has not.
        assert relative_error(ours, expected) < 5e-8
