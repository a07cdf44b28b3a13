"""Twelve real pairs of clips, and backbones small enough for every test."""

import pytest

from ldm_jax.convert.random_checkpoint import random_params, tiny
from ldm_jax.convert.random_tokenizers import write_roberta
from ldm_jax.eval.backbones.backbone import Backbone
from ldm_jax.eval.backbones.opening import params_hash
from ldm_jax.eval.clips import read_side
from ldm_jax.models.audiomae import AudioMAE
from ldm_jax.models.cnn14 import Cnn14
from ldm_jax.models.musicnn import Musicnn
from ldm_jax.models.vggish import VGGish
from ldm_jax.text.tokenizers import load_tokenizer
from tests.eval.preset_clips import write_pairs

MODULES = {
    "vggish": ("vggish", 16_000, VGGish(features=(4, 4, 8, 8), hidden=16, out_features=8)),
    "cnn14_16k": ("cnn14", 16_000, Cnn14(num_classes=20, features=(4, 4, 8, 8, 8, 8))),
    "musicnn:MTT_musicnn": (
        "musicnn",
        16_000,
        Musicnn(timbre=6, rhythm=4, middle=6, hidden=8, num_tags=20),
    ),
    "clap": ("clap", 48_000, tiny()["clap"]),
    "audiomae": ("audiomae", 16_000, AudioMAE(embed_dim=8, depth=2, heads=2)),
}


@pytest.fixture(scope="session")
def pair_folders(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="session")
def sides(pair_folders):
    return [read_side(side) for side in pair_folders]


@pytest.fixture(scope="session")
def tiny_backbones(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    write_roberta(folder)
    made = {}
    for name, (kind, rate, module) in MODULES.items():
        params = random_params(module, name=name, seed=0)
        made[name] = Backbone(
            name=name,
            kind=kind,
            module=module,
            params=params,
            sample_rate=rate,
            source=f"random {name}",
            sha256=params_hash(module, params),
            tokenizer=load_tokenizer(folder) if kind == "clap" else None,
        )
    return made
