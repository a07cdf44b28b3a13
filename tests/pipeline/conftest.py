import dataclasses

import jax
import pytest

from ldm_jax import AudioLDM2
from ldm_jax.convert import native, random_checkpoint
from ldm_jax.convert.load import load
from ldm_jax.models.bert import BERT


def with_bert(tiny, path):
    """The tiny system with a BERT in T5's place, as a folder of ours."""
    system = load(tiny)
    t5 = system.networks["t5"]
    bert = BERT(
        vocab_size=t5.vocab_size,
        hidden_size=t5.d_model,
        num_layers=2,
        num_heads=2,
        intermediate_size=32,
    )
    params = random_checkpoint.random_params(bert, name="t5", seed=0)
    native.save(
        dataclasses.replace(
            system,
            networks={**system.networks, "t5": bert},
            params={**system.params, "t5": params},
        ),
        path,
    )


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory):
    """Folders of random checkpoints in the diffusers layout, written once."""
    made = {}

    def folder(size, loa_tokens=None):
        if (size, loa_tokens) not in made:
            path = tmp_path_factory.mktemp("checkpoints") / size
            if size == "tiny-bert":
                with_bert(folder("tiny", loa_tokens), path)
            else:
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
