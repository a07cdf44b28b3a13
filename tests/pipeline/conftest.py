import jax
import pytest

from ldm_jax import AudioLDM2
from ldm_jax.convert import random_checkpoint


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory):
    """Folders of random checkpoints in the diffusers layout, written once."""
    made = {}

    def folder(size, loa_tokens=None):
        if (size, loa_tokens) not in made:
            path = tmp_path_factory.mktemp("checkpoints") / size
            random_checkpoint.write(size, path, loa_tokens=loa_tokens)
            made[size, loa_tokens] = path
        return made[size, loa_tokens]

    return folder


@pytest.fixture(scope="session")
def model_of(folder_of):
    """Models on one device, loaded once."""
    made = {}

    def model(size, preset="diffusers", loa_tokens=None):
        if (size, preset, loa_tokens) not in made:
            made[size, preset, loa_tokens] = AudioLDM2.from_pretrained(
                folder_of(size, loa_tokens),
                preset=preset,
                dtype="float32",
                devices=jax.devices()[:1],
            )
        return made[size, preset, loa_tokens]

    return model
