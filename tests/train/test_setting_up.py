"""What a run knows before anything is compiled."""

import dataclasses

import pytest
from ml_collections import ConfigDict

from ldm_jax.convert import native, random_checkpoint
from ldm_jax.convert.load import load
from ldm_jax.train.config import Data, Training, architectures
from ldm_jax.train.setting_up import setup
from ldm_jax.train.stages.latent_diffusion import LatentDiffusionStage

SCALE = 0.625


@pytest.fixture(scope="module")
def scaled(tmp_path_factory):
    """A tiny system whose VAE says by how much latents are multiplied."""
    folder = tmp_path_factory.mktemp("scaled")
    random_checkpoint.write("tiny", folder / "tiny")
    system = load(folder / "tiny")
    vae = system.networks["vae"].clone(scaling_factor=SCALE)
    networks = {**system.networks, "vae": vae}
    native.save(dataclasses.replace(system, networks=networks), folder / "ours")
    return folder / "ours"


def config(**weights):
    return Training(
        name="encoded",
        stage=LatentDiffusionStage(encoded=True),
        networks=architectures(unet=random_checkpoint.tiny()["unet"]),
        weights=ConfigDict({"unet": "", **weights}),
        data=Data(prepared=("nowhere",), encoded=True, seconds=5.12),
    )


def test_a_unet_from_encodings_is_trained_at_the_scale_of_the_vae_that_is_named(scaled):
    made = setup(config(vae=str(scaled)))
    scale = made.stage.measure(made.networks, {}, {})["latent_scale"]
    assert float(scale) == SCALE
    assert set(made.stage.frozen()) == set()  # it is not run
    assert made.opened.params["vae"]  # but goes along with what is exported
    assert made.sampled(round=-1)["seconds"] == made.opened.seconds == 5.12


@pytest.mark.parametrize("weights", [{}, {"vae": ""}, {"vae": "scratch"}])
def test_without_it_a_scale_has_to_be_given(weights):
    with pytest.raises(ValueError, match=r"name the VAE in weights\.vae"):
        setup(config(**weights))
