"""CLAP's weight tables: the names of `transformers.ClapModel`, and LAION's."""

import re
from collections.abc import Callable

from ldm_jax.convert.bert import encoder_rules
from ldm_jax.convert.rules import CONV2D, IDENTITY, LINEAR, Rule, Table, Transform, split

_ENCODER = "audio_model.audio_encoder"  # of transformers
_BLOCK = "audio_model/layers_{s}/blocks_{b}"  # of ours
_ATTENTION = tuple(f"attention.self.{x}" for x in ("query", "key", "value"))
_DENSE = (*_ATTENTION, "attention.output.dense", "intermediate.dense", "output.dense")
_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
_TABLE = "relative_position_bias_table"

_Rules = tuple[Rule, ...]


def _linear(source: str, path: str, kernel: Transform = LINEAR) -> _Rules:
    weight = Rule(f"{source}.weight", f"{path}/kernel", kernel)
    return weight, Rule(f"{source}.bias", f"{path}/bias")


def _conv(source: str, path: str) -> _Rules:
    return _linear(source, path, CONV2D)


def _norm(source: str, path: str) -> _Rules:
    return Rule(f"{source}.weight", f"{path}/scale"), Rule(f"{source}.bias", f"{path}/bias")


def _batch_norm(source: str, path: str) -> _Rules:
    statistics = (Rule(f"{source}.{x}", f"{path}/{x}") for x in ("running_mean", "running_var"))
    return *_norm(source, path), *statistics


def _mirrored(make: Callable[[str, str], _Rules], source: str, path: str, *names: str) -> _Rules:
    """Layers that lie at the same place under `source` and `path`: "a.0.b" at "a_0/b"."""
    places = {name: re.sub(r"\.(\d)", r"_\1", name).replace(".", "/") for name in names}
    return tuple(
        rule for name in names for rule in make(f"{source}.{name}", f"{path}/{places[name]}")
    )


def _text(source: str) -> _Rules:
    """RoBERTa, whose names are the same in both layouts."""
    pooler = _mirrored(_linear, source, "text_model", "pooler.dense")
    return *encoder_rules(f"{source}.", "text_model/"), *pooler


def _audio(source: str) -> _Rules:
    """HTS-AT but its blocks and its batch norm, with the same names in both layouts."""
    fusion = "patch_embed.fusion_model"
    convs = (
        f"{fusion}.{x}" for x in ("local_att.0", "local_att.3", "global_att.1", "global_att.4")
    )
    norms = (
        f"{fusion}.{x}" for x in ("local_att.1", "local_att.4", "global_att.2", "global_att.5")
    )
    merge, merge_path = f"{source}.layers.{{s}}.downsample", "audio_model/layers_{s}/downsample"
    return (
        *_mirrored(
            _conv, source, "audio_model", "patch_embed.proj", "patch_embed.mel_conv2d", *convs
        ),
        *_mirrored(_batch_norm, source, "audio_model", *norms),
        *_mirrored(_norm, source, "audio_model", "patch_embed.norm", "norm"),
        *_mirrored(_norm, merge, merge_path, "norm"),
        Rule(f"{merge}.reduction.weight", f"{merge_path}/reduction/kernel", LINEAR),
    )


def _transformers_blocks() -> _Rules:
    block = f"{_ENCODER}.layers.{{s}}.blocks.{{b}}"
    return (
        *_mirrored(_linear, block, _BLOCK, *_DENSE),
        *_mirrored(_norm, block, _BLOCK, "layernorm_before", "layernorm_after"),
        Rule(f"{block}.attention.self.{_TABLE}", f"{_BLOCK}/attention/self/{_TABLE}"),
    )


def _laion_blocks() -> _Rules:
    block = "audio_branch.layers.{s}.blocks.{b}"
    kernels, biases = (
        tuple(f"{_BLOCK}/{x.replace('.', '/')}/{kind}" for x in _ATTENTION)
        for kind in ("kernel", "bias")
    )
    return (
        Rule(f"{block}.attn.qkv.weight", kernels, split(3, LINEAR)),
        Rule(f"{block}.attn.qkv.bias", biases, split(3, IDENTITY)),
        Rule(f"{block}.attn.{_TABLE}", f"{_BLOCK}/attention/self/{_TABLE}"),
        *_linear(f"{block}.attn.proj", f"{_BLOCK}/attention/output/dense"),
        *_linear(f"{block}.mlp.fc1", f"{_BLOCK}/intermediate/dense"),
        *_linear(f"{block}.mlp.fc2", f"{_BLOCK}/output/dense"),
        *_norm(f"{block}.norm1", f"{_BLOCK}/layernorm_before"),
        *_norm(f"{block}.norm2", f"{_BLOCK}/layernorm_after"),
    )


def _heads(first: str, second: str) -> _Rules:
    """Projections, with the names of their two layers, and the scales of the logits."""
    towers = ("text_projection", "audio_projection")
    return (
        *(rule for x in towers for rule in _linear(f"{x}.{first}", f"{x}/linear1")),
        *(rule for x in towers for rule in _linear(f"{x}.{second}", f"{x}/linear2")),
        *(Rule(x, x) for x in ("logit_scale_a", "logit_scale_t")),
    )


_BUFFERS = ("{module:any}.relative_position_index", "{module:any}.num_batches_tracked")

TRANSFORMERS = Table(
    rules=(
        *_text("text_model"),
        *_batch_norm(f"{_ENCODER}.batch_norm", "audio_model/batch_norm"),
        *_audio(_ENCODER),
        *_transformers_blocks(),
        *_heads("linear1", "linear2"),
    ),
    ignored=("text_model.embeddings.{buffer:word}_ids", *_BUFFERS),
)
LAION = Table(
    rules=(
        *_text("text_branch"),
        *_batch_norm("audio_branch.bn0", "audio_model/batch_norm"),
        *_audio("audio_branch"),
        *_laion_blocks(),
        *_heads("0", "2"),
    ),
    ignored=(
        "text_branch.embeddings.{buffer:word}_ids",
        "audio_branch.spectrogram_extractor.{rest:any}",  # the Fourier matrix and the mel filters
        "audio_branch.logmel_extractor.{rest:any}",  # are fixed: ldm_jax.audio.clap_features
        "audio_branch.tscam_conv.{rest:any}",  # heads for AudioSet's classes
        "audio_branch.head.{rest:any}",
        "{tower:word}_transform.{rest:any}",  # heads of the contrastive training
        "attn_mask",
        "{module:any}.attn_mask",
        *_BUFFERS,
    ),
    aliases=(("module.{name:any}", "{name}"),),  # saved from within DistributedDataParallel
)
