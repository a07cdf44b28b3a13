"""From a config to a `Setup`: everything that can be wrong with a config is found here, before anything is compiled."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ldm_jax.data.features import TextTokenizers
from ldm_jax.parallel.mesh import training_mesh
from ldm_jax.parallel.sharding import check_batch
from ldm_jax.pipeline.networks import with_dtype
from ldm_jax.pipeline.tokens import Tokenizers
from ldm_jax.train import lora, optimizer, record
from ldm_jax.train.config import MELS, Training, check
from ldm_jax.train.representation import EVERYTHING, Representation, chosen, then
from ldm_jax.train.setup import Setup
from ldm_jax.train.stages.stage import Stage
from ldm_jax.train.trained import SYSTEM
from ldm_jax.train.weights import (
    SCRATCH,
    Opened,
    check_added,
    open_networks,
    tokenizer_folders,
)

_NOWHERE = (None, "", SCRATCH)  # what `weights.NAME` says where no weights are meant

TEXTUAL = ("clap", "t5", "phoneme_encoder")  # networks that read text


def setup(config: Training, *, devices: Any = None, weightless: bool = False) -> Setup:
    """Checks a config and opens what it names; nothing is compiled and no parameter read.

    Args:
        config: of the run.
        devices: to make the mesh of; None is all.
        weightless: frozen networks too may be without weights: for compiling alone.

    Raises:
        ValueError: whatever is wrong, in one sentence.
    """
    check(config)
    optimizer.check(config.optimizer)
    lora.check(config.lora)
    mesh = training_mesh(
        data=config.mesh.data,
        fsdp=config.mesh.fsdp,
        tensor=config.mesh.tensor,
        slices=config.mesh.slices,
        devices=devices,
    )
    check_batch(config.batch, mesh, microbatches=config.accumulation)
    stage: Stage = config.stage
    names = (*stage.trained(), *stage.frozen())
    weights = config.weights.to_dict()
    consulted = tuple(name for name in stage.consulted() if weights.get(name) not in _NOWHERE)
    if unknown := sorted(weights.keys() - {*names, *SYSTEM}):
        raise ValueError(
            f"weights.{unknown[0]} is given, but {type(stage).__name__} has no such network; it has {', '.join(names)}"
        )
    opened = open_networks(
        config.networks.to_dict(),
        checkpoint=config.checkpoint,
        # Others are for previews and export.
        weights={name: source for name, source in weights.items() if name in (*names, *consulted)},
        trained=names if weightless else [x for x in stage.trained() if x not in stage.given()],
        frozen=(*stage.given(), *stage.frozen(), *consulted),
        kept_as=stage.kept_as(),
    )
    stage = stage.informed(opened.origins)
    config = dataclasses.replace(config, stage=stage)
    opened = dataclasses.replace(opened, networks=stage.adapted(opened.networks))
    frozen_dtype = config.frozen_dtype or config.dtype
    networks = {
        name: with_dtype(
            module, jnp.dtype(config.dtype if name in stage.trained() else frozen_dtype)
        )
        for name, module in opened.networks.items()
        if name in (*names, *consulted)
    }
    stage.check(networks)
    if config.steps % stage.rounds():
        raise ValueError(
            f"{config.steps} steps cannot be divided among {stage.rounds()} rounds of equal length; choose a multiple"
        )
    opened = dataclasses.replace(
        opened,
        tokenizers={**opened.tokenizers, **_tokenizer_folders(config, networks)},
        sample_rate=config.data.sample_rate,
        hop=MELS[config.data.sample_rate].hop,
        **record.sampled(config, networks),
    )
    representation = _representation(config)
    check_added(opened, stage.trained(), representation.split)
    return Setup(
        config=config,
        opened=opened,
        networks=networks,
        features=stage.features(
            _tokenizers(config, opened, networks),
            MELS[config.data.sample_rate],
            config.data.seconds,
        ),
        mesh=mesh,
        representation=representation,
        transformations={
            player.name: optimizer.transformation(
                config.optimizer, total_steps=config.steps // stage.rounds()
            )
            for player in stage.players(networks)
        },
    )


def _representation(config: Training) -> Representation:
    """Chosen parameters or LoRA, and what the stage itself puts in place of them."""
    own = config.stage.representation()
    if config.lora.rank:
        if own is not None:
            raise ValueError(
                f"{type(config.stage).__name__} trains something else in place of kernels, and so does LoRA: set "
                "lora.rank to 0, or stage.weight_norm to False"
            )
        return lora.representation(config.lora, also=config.trainable)
    picked = chosen(config.trainable or EVERYTHING)
    return picked if own is None else then(picked, own)


def _tokenizers(
    config: Training, opened: Opened, networks: Mapping[str, nn.Module]
) -> TextTokenizers:
    """Those of the networks that read text. A batch from encodings needs none."""
    folders = opened.tokenizers
    reading = [name for name in TEXTUAL if name in networks]
    if config.data.encoded:
        reading = [name for name in reading if name == "phoneme_encoder"]
    if missing := [name for name in reading if name in ("clap", "t5") and name not in folders]:
        raise ValueError(
            f"{missing[0]} reads text, and no tokeniser for it is known: set data.tokenizers to a folder that holds "
            f"{missing[0]}/ with its tokeniser's files, or checkpoint to one that has them"
        )
    found = Tokenizers.load(reading, folders)
    return TextTokenizers(
        clap=found.clap,
        t5=found.t5,
        phonemes=found.phonemes,
        clap_length=config.data.clap_length,
        t5_length=config.data.t5_length,
    )


def _tokenizer_folders(
    config: Training, networks: Mapping[str, nn.Module]
) -> Mapping[str, pathlib.Path]:
    """Those of `data.tokenizers`; none where nothing reads text."""
    if not config.data.tokenizers or not networks.keys() & set(TEXTUAL):
        return {}
    return tokenizer_folders(pathlib.Path(config.data.tokenizers))
