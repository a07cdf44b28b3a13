"""A small dataset and a small system, each made once."""

import dataclasses

import numpy as np
import pytest
import soundfile

from ldm_jax.convert import random_checkpoint
from ldm_jax.convert.checkpoint import SCHEDULER, Checkpoint
from ldm_jax.data.clip import Clip
from ldm_jax.data.encoding.settings import Settings
from ldm_jax.data.encoding.writing import encode
from ldm_jax.data.locations import AudioFile
from ldm_jax.data.prepare import Settings as Preparation
from ldm_jax.data.prepare import prepare
from ldm_jax.data.prepared import open_prepared
from ldm_jax.models.audiomae import AudioMAE

RATE = 16_000
WINDOW = 20_480  # samples, 1.28 s
SETTINGS = Settings(seconds=1.28, shortest=0.5, shard=4)
# Seconds, captions, labels, split. Of a second window there is 0.6 s and is kept, or 0.2 s and is left out.
CLIPS = (
    (0.3, ("a dog barks",), (), "train"),
    (1.28, ("rain", "heavy rain on a roof", "techno music with a strong beat"), (), "train"),
    (1.28 * 2 + 0.6, ("a dog barks", "birds chirping"), (), "train"),
    (1.28 + 0.2, (), ("Dog", "Rain"), "train"),
    (2.0, (), (), "train"),
    (2.2, ("a woman speaks, " * 40,), (), "train"),
    (1.0, ("a dog barks",), (), "test"),
    (1.5, ("soft music",), (), "test"),
)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """The networks of a tiny system that encode, with random weights."""
    networks = {name: random_checkpoint.tiny()[name] for name in ("vae", "clap", "t5")}
    tokenizers = {name: tmp_path_factory.mktemp(name) for name in ("clap", "t5")}
    for name, folder in tokenizers.items():
        words = random_checkpoint.TOKENIZERS[name](folder)
        networks[name] = random_checkpoint.with_vocabulary(networks[name], words)
    return Checkpoint(
        networks=networks,
        params={
            name: random_checkpoint.random_params(module, name=name, seed=0)
            for name, module in networks.items()
        },
        tokenizers=tokenizers,
        scheduler=SCHEDULER,
        sample_rate=RATE,
        hop=160,
        loa_tokens=8,
        preset=None,
        source="tiny",
    )


@pytest.fixture(scope="session")
def audiomae(checkpoint):
    """AudioMAE alone, as `convert.single` reads it; 16 x 8 patches, of 1.28 s the first half."""
    module = AudioMAE(img_size=(256, 128), embed_dim=32, depth=4, heads=4, decoder="vit",
                      decoder_dim=32, decoder_depth=1, decoder_heads=4)  # fmt: skip
    params = random_checkpoint.random_params(module, name="audiomae", seed=0)
    return dataclasses.replace(
        checkpoint, networks={"audiomae": module}, params={"audiomae": params}, tokenizers={}
    )


def waves():
    """16-bit samples of each clip, none like another."""
    generator = np.random.default_rng(0)
    for seconds, *_ in CLIPS:
        wave = np.cumsum(generator.standard_normal(round(seconds * RATE)))
        wave = wave - np.linspace(wave[0], wave[-1], len(wave)) + 0.01 * np.abs(wave).max()
        yield np.rint(wave / np.abs(wave).max() * 9000).astype(np.int16)


@pytest.fixture(scope="session")
def make(tmp_path_factory):
    """Prepares a dataset of the first `count` clips in a folder of its own, or in the one given."""

    def prepared(folder=None, count=None):
        folder = folder or tmp_path_factory.mktemp("prepared")
        clips = []
        for number, (wave, clip) in enumerate(zip(waves(), CLIPS[:count], strict=False)):
            path = folder / f"{number}.wav"
            soundfile.write(path, wave, RATE)
            _, captions, labels, split = clip
            clips.append(
                Clip(
                    name=path.name,
                    audio=AudioFile(str(path)),
                    captions=captions,
                    labels=labels,
                    split=split,
                )
            )
        made = prepare(clips, folder, name="set", settings=Preparation(), overwrite=True)
        return open_prepared(made.folder)

    return prepared


@pytest.fixture(scope="session")
def prepared(make):
    return make()


@pytest.fixture(scope="session")
def folder(prepared, checkpoint, audiomae):
    """Everything, encoded on all eight devices; not to be changed."""
    return encode(prepared, checkpoint, settings=SETTINGS, audiomae=audiomae, batch=2)
