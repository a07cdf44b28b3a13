"""The official single-file layout: `audioldm2-full.pth` and its siblings, told apart by the tensors they hold."""

import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import numpy as np

from ldm_jax.convert import (
    audiomae,
    clap,
    gpt2,
    phoneme_encoder,
    t5,
    translator,
    unet,
    vae,
    vocoder,
)
from ldm_jax.convert.checkpoint import SCHEDULER, Checkpoint, abstract_params
from ldm_jax.convert.hub import resolve
from ldm_jax.convert.pickles import state_dict
from ldm_jax.convert.rules import ConversionError, Params, Table, convert
from ldm_jax.models.gpt2 import GPT2
from ldm_jax.models.phoneme_encoder import PhonemeEncoder
from ldm_jax.models.t5 import T5Encoder
from ldm_jax.models.translator import Translator

Tensors = Mapping[str, Any]
TOKENIZERS = {"clap": ("tokenizer", "roberta-base"), "t5": ("tokenizer_2", "google/flan-t5-large")}
# Beside the networks: schedule buffers, the moving average of the UNet, what only training reads.
_BUFFERS = (
    *("betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod"),
    *("sqrt_one_minus_alphas_cumprod", "log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod"),
    *("sqrt_recipm1_alphas_cumprod", "posterior_variance", "posterior_log_variance_clipped"),
    *("posterior_mean_coef1", "posterior_mean_coef2", "lvlb_weights", "logvar", "scale_factor"),
)
_UNUSED = ("model_ema.", "first_stage_model.loss.", "clap.mel_transform.", "model_ema")
_SEQUENCE = "cond_stage_models.0."


class _Parts:
    """A state dict taken apart by prefix; every tensor is taken once or reported."""

    def __init__(self, tensors: Tensors):
        self.tensors = tensors
        self.left = set(tensors)

    def __contains__(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.tensors)

    def take(self, prefix: str, *, without: Sequence[str] = ()) -> dict[str, Any]:
        """Tensors below `prefix`, with names from there on; those below a prefix in `without` stay."""
        names = [
            name
            for name in self.tensors
            if name.startswith(prefix) and not name.startswith(tuple(without))
        ]
        self.left -= set(names)
        return {name[len(prefix) :]: self.tensors[name] for name in names}

    def drop(self) -> None:
        """Leaves out what is not a weight that generation uses."""
        self.left = {
            name
            for name in self.left
            if name not in _BUFFERS
            and not name.startswith(_UNUSED)
            and ".mel_transform." not in name
        }


def load(path: pathlib.Path) -> Checkpoint:
    """Reads an official checkpoint; arrays are read from the file as they are converted.

    Raises:
        CheckpointError: not a readable PyTorch file.
        ConversionError: not an AudioLDM 2 checkpoint, or tensors that do not fit.
    """
    tensors, _ = state_dict(path)
    return from_tensors(tensors, source=path)


def from_tensors(tensors: Tensors, *, source: pathlib.Path) -> Checkpoint:
    """A checkpoint from official names; `tokenizer` and `tokenizer_2` are looked for beside `source`.

    Raises:
        ConversionError: not an AudioLDM 2 checkpoint, or tensors that do not fit.
    """
    parts = _Parts(tensors)
    if "model.diffusion_model." not in parts:
        raise ConversionError(
            f"{source} has no model.diffusion_model.* tensors: it is not an official AudioLDM 2 checkpoint"
        )
    rate = 48_000 if _mel_channels(tensors) == 256 else 16_000
    loaded: dict[str, tuple[nn.Module, Params]] = {}

    def add(name: str, module: nn.Module, part: Tensors, table: Table) -> None:
        loaded[name] = (
            module,
            convert(part, table, abstract_params(module), network=f"{source}: {name}"),
        )

    part = parts.take("model.diffusion_model.")
    network = unet.from_official(_unet_config(part))
    add("unet", network, part, unet.official_table(network))
    _add_decoder(add, parts, rate, float(np.asarray(tensors.get("scale_factor", 1.0))))
    loa_tokens = 0
    if f"{_SEQUENCE}start_of_sequence_tokens.weight" in tensors:
        loa_tokens = _add_sequence(add, parts)
    elif f"{_SEQUENCE}model.text_branch." in parts:
        _add_clap(add, parts, _SEQUENCE + "model.")
    else:
        add("t5", T5Encoder(), parts.take(_SEQUENCE + "model."), t5.TRANSFORMERS)
    if "clap" not in loaded and "clap.model." in parts:
        _add_clap(add, parts, "clap.model.")
    _drop_copies(parts)
    parts.drop()
    if parts.left:
        listed = "\n".join(f"    {name}" for name in sorted(parts.left))
        raise ConversionError(
            f"{source} holds tensors that no network takes; nothing was loaded\n{listed}"
        )
    return Checkpoint(
        networks={name: module for name, (module, _) in loaded.items()},
        params={name: params for name, (_, params) in loaded.items()},
        tokenizers=_tokenizers(source, loaded),
        scheduler=SCHEDULER,
        sample_rate=rate,
        hop=rate // 100,
        loa_tokens=loa_tokens,
        preset=None,
        source=str(source),
    )


def _unet_config(tensors: Tensors) -> dict[str, Any]:
    """`unet_config.params` of the published network with this network's slots, depth and film, told by its tensors."""
    base = unet.OFFICIAL_CONFIGS[
        "audioldm_48k" if "film_emb.weight" in tensors else "audioldm2-full"
    ]
    key = "input_blocks.4.{}.transformer_blocks.{}.attn2.to_k.weight"
    widths, depth = [], 0
    while (name := key.format(len(widths) + 1, 0)) in tensors:
        features, width = np.shape(tensors[name])
        widths.append(None if width == features else width)
    while key.format(1, depth) in tensors:
        depth += 1
    if not widths:
        raise ConversionError(f"{key.format(1, 0)} is missing: this is not AudioLDM 2's UNet")
    return {**base, "context_dim": widths[1:], "transformer_depth": depth}


def _mel_channels(tensors: Tensors) -> int:
    name = "first_stage_model.vocoder.conv_pre.weight"
    if name not in tensors:
        raise ConversionError(f"{name} is missing: the checkpoint has no vocoder")
    return int(np.shape(tensors[name])[1])


def _add_decoder(add: Any, parts: _Parts, rate: int, scaling_factor: float) -> None:
    network = vae.from_official(vae.OFFICIAL_CONFIGS[rate], scaling_factor=scaling_factor)
    part = parts.take(
        "first_stage_model.", without=("first_stage_model.vocoder.", "first_stage_model.loss.")
    )
    add("vae", network, part, vae.official_table(len(network.block_out_channels)))
    config = vocoder.OFFICIAL_CONFIGS[rate]
    part = vocoder.official_tensors(
        parts.take("first_stage_model.vocoder."), mel_channels=config["num_mels"]
    )
    add("vocoder", vocoder.from_official(config), part, vocoder.OFFICIAL)


def _add_clap(add: Any, parts: _Parts, prefix: str) -> None:
    part = parts.take(prefix)
    add("clap", clap.from_config(clap.laion_config_of(part)), part, clap.LAION)


def _add_sequence(add: Any, parts: _Parts) -> int:
    """CLAP, T5 or phonemes, GPT-2 and AudioMAE below the sequence generator; how many LOA tokens it rolls out."""
    nested = _SEQUENCE + "cond_stage_models."
    _add_clap(add, parts, f"{nested}0.model.")
    speech = f"{nested}1.learnable_positional_embedding" in parts.tensors
    if speech:
        part = parts.take(f"{nested}1.")
        positions = part.pop("learnable_positional_embedding")
        add("phoneme_encoder", PhonemeEncoder(), part, phoneme_encoder.OFFICIAL)
    else:
        add("t5", T5Encoder(), parts.take(f"{nested}1.model."), t5.TRANSFORMERS)
    if f"{nested}2.audiomae.model." in parts:
        part = parts.take(f"{nested}2.audiomae.model.")
        network = audiomae.from_config(audiomae.config_of(part))
        add("audiomae", network, part, audiomae.OFFICIAL)
    add("gpt2", GPT2(), parts.take(_SEQUENCE + "model."), gpt2.TRANSFORMERS)
    front = parts.take(_SEQUENCE, without=(nested, _SEQUENCE + "model."))
    if speech:
        front["learnable_positional_embedding"] = positions
        network = Translator(stream_dims=(512, 192), max_seq_length=int(np.shape(positions)[-1]))
    else:
        network = Translator(stream_dims=(512, 1024))
    add("translator", network, front, translator.OFFICIAL)
    return 512 if speech else 8


def _drop_copies(parts: _Parts) -> None:
    """Copies of frozen networks that the official file stores again: T5 for the UNet, CLAP for ranking."""
    nested = _SEQUENCE + "cond_stage_models."
    pairs = (
        ("cond_stage_models.1.model.", f"{nested}1.model."),
        ("clap.model.", f"{nested}0.model."),
    )
    for copy, original in (*pairs, ("clap.model.", _SEQUENCE + "model.")):
        again = [name for name in parts.left if name.startswith(copy)]
        if not any(original + name[len(copy) :] in parts.tensors for name in again):
            continue
        names = [(name, original + name[len(copy) :]) for name in again]
        differing = [
            name
            for name, first in names
            if first in parts.tensors
            and not np.array_equal(parts.tensors[name], parts.tensors[first])
        ]
        if differing:
            warnings.warn(
                f"{copy}* differs from {original}* in {len(differing)} tensors, such as {differing[0]}; "
                "the latter is used for both",
                stacklevel=2,
            )
        parts.left -= set(again)


def _tokenizers(source: pathlib.Path, loaded: Mapping[str, Any]) -> dict[str, pathlib.Path]:
    """Folders of tokenisers: beside the file, else the Hub's, from its cache where offline."""
    patterns = ["*.json", "*.txt", "*.model"]
    found = {}
    for name, (folder, hub_id) in TOKENIZERS.items():
        if name in loaded:
            beside = source.parent / folder
            found[name] = beside if beside.is_dir() else resolve(hub_id, allow_patterns=patterns)
    return found
