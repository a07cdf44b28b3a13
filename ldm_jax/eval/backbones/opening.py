"""From the name of a backbone to the network with its weights."""

import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np
from flax import traverse_util

from ldm_jax.convert import single
from ldm_jax.convert.checkpoint import Checkpoint
from ldm_jax.convert.load import load
from ldm_jax.convert.native import fingerprint
from ldm_jax.convert.tf_bundle import open_bundle
from ldm_jax.eval import weights
from ldm_jax.eval.backbones.backbone import Backbone, Kind
from ldm_jax.text.tokenizers import TextTokenizer, load_tokenizer

KINDS: Mapping[str, Kind] = {
    "vggish": "vggish",
    "cnn14_8k": "cnn14",
    "cnn14_16k": "cnn14",
    "cnn14_32k": "cnn14",
    "passt": "passt",
    "musicnn": "musicnn",
    "clap": "clap",
    "audiomae": "audiomae",
}
OWN = ("clap", "audiomae")  # networks of this library, which have no published file
RATES = {
    "vggish": 16_000,
    "cnn14_8k": 8_000,
    "cnn14_16k": 16_000,
    "cnn14_32k": 32_000,
    "passt": 32_000,
    "musicnn": 16_000,
    "clap": 48_000,
    "audiomae": 16_000,
}


def open_backbone(
    name: str,
    path: str | pathlib.Path | None = None,
    *,
    folder: pathlib.Path | None = None,
    tokenizer: pathlib.Path | None = None,
) -> Backbone:
    """A backbone by its name, such as "vggish", "cnn14_16k", "musicnn", "clap:630k-audioset-best" or "audiomae".

    Args:
        name: what it is; behind a colon, which of several.
        path: its weights: a published file, a folder of the Hub's layout or of a TensorFlow checkpoint (musicnn), or a
            system of this library of which its CLAP or AudioMAE is taken; None looks where `weights.find` looks.
        folder: where `weights.find` looks first.
        tokenizer: RoBERTa's tokeniser files, where a CLAP has none beside it.

    Raises:
        ValueError: an unknown name.
        CheckpointError, ConversionError: nothing found, or something else.
    """
    family = name.partition(":")[0]
    if family not in KINDS:
        raise ValueError(f"unknown backbone {name!r}; there are {', '.join(KINDS)}")
    kind = KINDS[family]
    name = weights.DEFAULTS.get(name, name)
    found = pathlib.Path(path) if path is not None else weights.find(name, folder=folder)
    checkpoint = _load(found, kind, name.partition(":")[2])
    if kind == "cnn14" and checkpoint.sample_rate != RATES[family]:
        raise ValueError(
            f"{found} is a Cnn14 for {checkpoint.sample_rate} Hz; {name} takes {RATES[family]} Hz"
        )
    module = checkpoint.networks[kind]
    params = checkpoint.params[kind]
    return Backbone(
        name=name,
        kind=kind,
        module=module,
        params=params,
        sample_rate=RATES[family],
        source=str(found),
        sha256=_hash(checkpoint, found, name),
        tokenizer=_tokenizer(checkpoint, found, tokenizer, folder) if kind == "clap" else None,
    )


def _load(path: pathlib.Path, kind: Kind, within: str) -> Checkpoint:
    if kind == "musicnn":
        return single.load(path, kind, within=within)
    whole = any((path / file).exists() for file in ("model.json", "model_index.json"))
    if kind not in OWN or not whole:
        return single.load(path, kind)
    system = load(path)
    if kind not in system.networks:
        raise ValueError(f"{path} has no {kind}; it has {', '.join(system.networks)}")
    return system


def _tokenizer(
    checkpoint: Checkpoint,
    path: pathlib.Path,
    given: pathlib.Path | None,
    folder: pathlib.Path | None,
) -> TextTokenizer | None:
    """Of a CLAP: the one given, that of its system or folder, or RoBERTa's where `weights` finds it; else None."""
    if given is not None:
        return load_tokenizer(given)
    if "clap" in checkpoint.tokenizers:
        return load_tokenizer(checkpoint.tokenizers["clap"])
    beside = path if path.is_dir() else path.parent
    if any((beside / file).exists() for file in ("tokenizer.json", "merges.txt")):
        return load_tokenizer(beside)
    there = weights.find_tokenizer(folder=folder)
    return None if there is None else load_tokenizer(there)


def _hash(checkpoint: Checkpoint, path: pathlib.Path, name: str) -> str:
    """See `Backbone.sha256`."""
    family, _, within = name.partition(":")
    if (kind := KINDS[family]) == "musicnn":
        return open_bundle(path, within=within).sha256
    if len(checkpoint.networks) > 1 or path.is_dir():
        return params_hash(checkpoint.networks[kind], checkpoint.params[kind])
    return _file_hash(path)


def params_hash(module: nn.Module, params: Mapping[str, Any]) -> str:
    """`fingerprint` of a network with its tree of parameters."""
    flat: dict[str, Any] = traverse_util.flatten_dict(dict(params), sep="/")
    return fingerprint(module, {path: np.asarray(x) for path, x in flat.items()})


def _file_hash(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
