"""The part of a checkpoint that each encoding comes from, and its hash."""

import concurrent.futures
import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import numpy as np
from flax import traverse_util

from ldm_jax.convert.checkpoint import Checkpoint
from ldm_jax.convert.native import fingerprint
from ldm_jax.convert.rules import Params
from ldm_jax.data.encoding.settings import WHAT
from ldm_jax.text.tokenizers import TextTokenizer, load_tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """A network as one encoding runs it.

    Attributes:
        module: without what this encoding has no use for, where that can be left out.
        params: those that it reads, by path.
        tokenizer: of a text encoder, else None.
    """

    module: Any
    params: Mapping[str, np.ndarray]
    tokenizer: TextTokenizer | None = None

    @property
    def tree(self) -> Params:
        """`params` as `module.apply` takes them."""
        return traverse_util.unflatten_dict(dict(self.params), sep="/")


@dataclasses.dataclass(frozen=True)
class _Source:
    """Where an encoding's network lies in a checkpoint, which parameters it leaves unread, what else is indifferent."""

    network: str
    unread: tuple[str, ...] = ()
    plain: Callable[[Any], nn.Module] = lambda module: module


_TEXT_TOWER = ("text_model/", "text_projection/")
_AUDIO_TOWER = ("audio_model/", "audio_projection/")
_SOURCES = {
    "latents": _Source(
        "vae", ("decoder/", "post_quant_conv/"), lambda vae: vae.clone(scaling_factor=1.0)
    ),
    "loa": _Source("audiomae", ("decoder_", "mask_token"), lambda mae: mae.clone(decoder=None)),
    "clap_audio": _Source("clap", _TEXT_TOWER),
    "t5": _Source("t5"),
    "clap_text": _Source("clap", _AUDIO_TOWER),
}


def available(checkpoint: Checkpoint, audiomae: Checkpoint | None = None) -> tuple[str, ...]:
    """Which of `WHAT` a checkpoint can make."""
    there = {**checkpoint.networks, **(audiomae.networks if audiomae else {})}
    return tuple(name for name in WHAT if _SOURCES[name].network in there)


def part(name: str, checkpoint: Checkpoint, audiomae: Checkpoint | None = None) -> Part:
    """The part of `checkpoint` (of `audiomae` for LOA, if given) that encodes `name`.

    Raises:
        ValueError: the checkpoint has no such network.
        TokenizerError: tokeniser files that are missing or not supported.
    """
    source = _SOURCES[name]
    holder = audiomae if name == "loa" and audiomae is not None else checkpoint
    if source.network not in holder.networks:
        hint = {
            "audiomae": "give its weights, as published for AudioMAE, with --audiomae, or leave out loa",
            "t5": "it conditions on phonemes alone; leave out t5",
        }.get(source.network, f"leave out {name}")
        raise ValueError(f"{holder.source} has no {source.network}: {hint}")
    flat: dict[str, Any] = traverse_util.flatten_dict(holder.params[source.network], sep="/")
    folder = holder.tokenizers.get(source.network) if name in ("t5", "clap_text") else None
    return Part(
        module=source.plain(holder.networks[source.network]),
        params={path: x for path, x in flat.items() if not path.startswith(source.unread)},
        tokenizer=load_tokenizer(folder) if folder is not None else None,
    )


def part_hash(part: Part) -> str:
    """`fingerprint` of the network and its parameters, and of its tokeniser's vocabulary."""
    more = b""
    if part.tokenizer is not None:
        words = sorted(part.tokenizer.backend.get_vocab().items())
        more = json.dumps([words, part.tokenizer.pad_id]).encode()
    return fingerprint(part.module, part.params, more=more)


def part_hashes(parts: Mapping[str, Part]) -> dict[str, str]:
    """`part_hash` of each, side by side."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return dict(zip(parts, pool.map(part_hash, parts.values()), strict=True))
