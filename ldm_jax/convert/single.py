"""One network's published weights alone: of AudioLDM 2 or of those that evaluation hears with."""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from ldm_jax.convert import (
    audiomae,
    bert,
    clap,
    cnn14,
    discriminators,
    gpt2,
    lpips,
    musicnn,
    passt,
    phoneme_encoder,
    t5,
    unet,
    vae,
    vggish,
    vocoder,
)
from ldm_jax.convert.checkpoint import SCHEDULER, Checkpoint, abstract_params
from ldm_jax.convert.files import open_tensors
from ldm_jax.convert.hub import resolve
from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.convert.rules import Table, convert
from ldm_jax.convert.tf_bundle import open_bundle
from ldm_jax.models.vggish import VGGish

Reader = Callable[[Mapping[str, np.ndarray], dict[str, Any] | None], tuple[nn.Module, Table]]


def _needs(network: str, config: dict[str, Any] | None) -> dict[str, Any]:
    if config is None:
        raise CheckpointError(
            f"a {network} needs the config.json that it is published with, beside its weights"
        )
    return config


def _clap(
    tensors: Mapping[str, np.ndarray], config: dict[str, Any] | None
) -> tuple[nn.Module, Table]:
    if config is not None:
        return clap.from_config(config), clap.TRANSFORMERS
    return clap.from_config(clap.laion_config_of(tensors)), clap.LAION


def _text_encoder(config: dict[str, Any]) -> tuple[nn.Module, Table]:
    if config.get("model_type") == "bert":
        return bert.from_config(config), bert.TRANSFORMERS
    return t5.from_config(config), t5.TRANSFORMERS


def _patchgan(
    tensors: Mapping[str, np.ndarray], _: dict[str, Any] | None
) -> tuple[nn.Module, Table]:
    module = discriminators.patchgan_of(tensors)
    return module, discriminators.patchgan_table(module.layers)


READERS: dict[str, Reader] = {
    "audiomae": lambda tensors, _: (
        audiomae.from_config(audiomae.config_of(tensors)),
        audiomae.OFFICIAL,
    ),
    "clap": _clap,
    "cnn14": lambda tensors, _: (cnn14.network_of(tensors), cnn14.OFFICIAL),
    "discriminator": _patchgan,
    "lpips": lambda tensors, _: (lpips.network_of(tensors), lpips.TABLE),
    "musicnn": lambda tensors, _: (musicnn.network_of(tensors), musicnn.TENSORFLOW),
    "passt": lambda tensors, _: (passt.network_of(tensors), passt.HEAR21PASST),
    "vggish": lambda *_: (VGGish(), vggish.TORCHVGGISH),
    "t5": lambda _, config: _text_encoder(_needs("t5", config)),
    "gpt2": lambda _, config: (gpt2.from_config(_needs("gpt2", config)), gpt2.TRANSFORMERS),
    "phoneme_encoder": lambda _, config: (
        phoneme_encoder.from_config(_needs("phoneme_encoder", config)),
        phoneme_encoder.TRANSFORMERS,
    ),
    "unet": lambda _, config: (unet.from_config(_needs("unet", config)), unet.DIFFUSERS),
    "vae": lambda _, config: (vae.from_config(_needs("vae", config)), vae.DIFFUSERS),
    "vocoder": lambda _, config: (
        vocoder.from_config(_needs("vocoder", config)),
        vocoder.TRANSFORMERS,
    ),
}


def load(path_or_id: str | pathlib.Path, network: str, *, within: str = "") -> Checkpoint:
    """A checkpoint of one network, from its weights' file or the folder (or Hub id) that holds it and `config.json`.

    Args:
        path_or_id: the file or folder; of "musicnn" a folder of TensorFlow's, or the Python package's wheel.
        network: a key of `READERS`.
        within: which of the networks of a file that holds several; "" is musicnn's "MTT_musicnn".

    Raises:
        CheckpointError: nothing there, a broken file, or no config where one is needed.
        ConversionError: weights that do not fit; each is named.
    """
    path = resolve(path_or_id)
    folder = path if path.is_dir() else path.parent
    config = None
    if (folder / "config.json").is_file():
        config = json.loads((folder / "config.json").read_text())
    if network == "musicnn":
        tensors = open_bundle(path, within=within or musicnn.DEFAULT).tensors()
    else:
        tensors = open_tensors(path)
    module, table = READERS[network](tensors, config)
    return Checkpoint(
        networks={network: module},
        params={network: convert(tensors, table, abstract_params(module), network=str(path))},
        tokenizers={},
        scheduler=SCHEDULER,
        sample_rate=cnn14.sample_rate(tensors) or 16_000,
        hop=160,
        loa_tokens=0,
        preset=None,
        source=str(path),
    )
