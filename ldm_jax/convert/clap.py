"""CLAP: `transformers`' config.json and names, and LAION's names.

The official AudioLDM 2 checkpoints hold LAION's names behind "clap.model." and other prefixes, which the caller strips.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from ldm_jax.convert.rules import (
    CONV2D,
    IDENTITY,
    LINEAR,
    ConversionError,
    Rule,
    Table,
    Transform,
    split,
)
from ldm_jax.models.clap import CLAP
from ldm_jax.models.htsat import HTSAT
from ldm_jax.models.roberta import RoBERTa
from ldm_jax.models.swin import relative_position_index

_Rules = tuple[Rule, ...]


def _linear(source: str, path: str, kernel: Transform = LINEAR) -> _Rules:
    return Rule(f"{source}.weight", f"{path}/kernel", kernel), Rule(f"{source}.bias", f"{path}/bias")


def _conv(source: str, path: str) -> _Rules:
    return _linear(source, path, CONV2D)


def _norm(source: str, path: str) -> _Rules:
    return Rule(f"{source}.weight", f"{path}/scale"), Rule(f"{source}.bias", f"{path}/bias")


def _batch_norm(source: str, path: str) -> _Rules:
    statistics = (Rule(f"{source}.{x}", f"{path}/{x}") for x in ("running_mean", "running_var"))
    return *_norm(source, path), *statistics


def _embedding(source: str, path: str) -> _Rules:
    return (Rule(f"{source}.weight", f"{path}/embedding"),)


def _mirrored(make: Callable[[str, str], _Rules], source: str, path: str, *names: str) -> _Rules:
    """Layers that lie at the same place under `source` and `path`: "a.0.b" at "a_0/b"."""
    places = {name: re.sub(r"\.(\d)", r"_\1", name).replace(".", "/") for name in names}
    return tuple(
        rule for name in names for rule in make(f"{source}.{name}", f"{path}/{places[name]}")
    )


_ATTENTION = tuple(f"attention.self.{x}" for x in ("query", "key", "value"))
_DENSE = (*_ATTENTION, "attention.output.dense", "intermediate.dense", "output.dense")
_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
_TABLE = "relative_position_bias_table"


def _text(source: str) -> _Rules:
    """RoBERTa, whose names are the same in both layouts."""
    tables = (f"embeddings.{x}_embeddings" for x in ("word", "position", "token_type"))
    layer, layer_path = f"{source}.encoder.layer.{{i}}", "text_model/encoder/layer_{i}"
    return (
        *_mirrored(_embedding, source, "text_model", *tables),
        *_mirrored(_norm, source, "text_model", "embeddings.LayerNorm"),
        *_mirrored(_linear, layer, layer_path, *_DENSE),
        *_mirrored(_norm, layer, layer_path, *_NORMS),
        *_mirrored(_linear, source, "text_model", "pooler.dense"),
    )


def _audio(source: str) -> _Rules:
    """HTS-AT but its blocks and its batch norm, with the same names in both layouts."""
    fusion = "patch_embed.fusion_model"
    convs = (f"{fusion}.{x}" for x in ("local_att.0", "local_att.3", "global_att.1", "global_att.4"))
    norms = (f"{fusion}.{x}" for x in ("local_att.1", "local_att.4", "global_att.2", "global_att.5"))
    merge, merge_path = f"{source}.layers.{{s}}.downsample", "audio_model/layers_{s}/downsample"
    return (
        *_mirrored(_conv, source, "audio_model", "patch_embed.proj", "patch_embed.mel_conv2d", *convs),
        *_mirrored(_batch_norm, source, "audio_model", *norms),
        *_mirrored(_norm, source, "audio_model", "patch_embed.norm", "norm"),
        *_mirrored(_norm, merge, merge_path, "norm"),
        Rule(f"{merge}.reduction.weight", f"{merge_path}/reduction/kernel", LINEAR),
    )


def _transformers_blocks() -> _Rules:
    block = f"{_AUDIO}.layers.{{s}}.blocks.{{b}}"
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
    """Projections, whose two layers are called `first` and `second`, and the scales of the logits."""
    towers = ("text_projection", "audio_projection")
    return (
        *(rule for x in towers for rule in _linear(f"{x}.{first}", f"{x}/linear1")),
        *(rule for x in towers for rule in _linear(f"{x}.{second}", f"{x}/linear2")),
        *(Rule(x, x) for x in ("logit_scale_a", "logit_scale_t")),
    )


_AUDIO, _BLOCK = "audio_model.audio_encoder", "audio_model/layers_{s}/blocks_{b}"
_BUFFERS = ("{module:any}.relative_position_index", "{module:any}.num_batches_tracked")

TRANSFORMERS = Table(
    rules=(
        *_text("text_model"),
        *_batch_norm(f"{_AUDIO}.batch_norm", "audio_model/batch_norm"),
        *_audio(_AUDIO),
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
        "audio_branch.spectrogram_extractor.{rest:any}",  # Fourier matrix and mel filters, which
        "audio_branch.logmel_extractor.{rest:any}",  # training left as ldm_jax.audio.clap_features has them
        "audio_branch.tscam_conv.{rest:any}",  # heads for AudioSet's classes
        "audio_branch.head.{rest:any}",
        "{tower:word}_transform.{rest:any}",  # heads of the contrastive training
        "attn_mask",
        "{module:any}.attn_mask",
        *_BUFFERS,
    ),
    aliases=(("module.{name:any}", "{name}"),),  # saved from within DistributedDataParallel
)

FEATURE_EXTRACTOR = {  # preprocessor_config.json beside models without fusion
    "feature_extractor_type": "ClapFeatureExtractor",
    "feature_size": 64,
    "fft_window_size": 1024,
    "frequency_max": 14000,
    "frequency_min": 50,
    "hop_length": 480,
    "max_length_s": 10,
    "nb_frequency_bins": 513,
    "nb_max_samples": 480000,
    "padding": "repeatpad",
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": False,
    "sampling_rate": 48000,
    "top_db": None,
    "truncation": "rand_trunc",
}

_TEXT_FIELDS = {  # of RoBERTa, by key of text_config, and the value where a config lacks that key
    "vocab_size": ("vocab_size", 50265),
    "hidden_size": ("hidden_size", 768),
    "num_hidden_layers": ("num_layers", 12),
    "num_attention_heads": ("num_heads", 12),
    "intermediate_size": ("intermediate_size", 3072),
    "max_position_embeddings": ("max_position_embeddings", 514),
    "type_vocab_size": ("type_vocab_size", 1),
    "pad_token_id": ("pad_token_id", 1),
    "layer_norm_eps": ("layer_norm_eps", 1e-12),
}
_AUDIO_FIELDS = {  # of HTSAT, by key of audio_config
    "patch_embeds_hidden_size": ("embed_dim", 96),
    "depths": ("depths", (2, 2, 6, 2)),
    "num_attention_heads": ("num_heads", (4, 8, 16, 32)),
    "window_size": ("window", 8),
    "spec_size": ("image_size", 256),
    "num_mel_bins": ("num_mels", 64),
    "patch_size": ("patch_size", 4),
    "mlp_ratio": ("mlp_ratio", 4.0),
    "qkv_bias": ("qkv_bias", True),
    "enable_fusion": ("fusion", False),
    "aff_block_r": ("aff_reduction", 4),
    "layer_norm_eps": ("layer_norm_eps", 1e-5),
}
_ONLY_TEXT = {  # keys that have to have one of these values, the first where a config lacks the key
    "hidden_act": ("gelu",),
    "position_embedding_type": ("absolute",),
    "is_decoder": (False,),
}
_ONLY_AUDIO = {
    "hidden_act": ("gelu",),
    "fusion_type": (None, "None", "aff_2d"),
    "patch_embed_input_channels": (1,),
    "flatten_patch_embeds": (True,),
    "enable_patch_layer_norm": (True,),
}


def from_config(config: Mapping[str, Any]) -> CLAP:
    """The network that a config.json of `ClapModel` describes.

    Raises:
        ConversionError: a value that is not supported, or values that contradict each other.
    """
    _check("", config, {"model_type": ("clap",), "projection_hidden_act": ("relu",)})
    text, audio = config.get("text_config") or {}, config.get("audio_config") or {}
    _check("text_config.", text, _ONLY_TEXT)
    _check("audio_config.", audio, _ONLY_AUDIO)
    tower = HTSAT(**_fields(audio, _AUDIO_FIELDS))
    _check_geometry(tower)
    _check(
        "audio_config.",
        audio,
        {
            "hidden_size": (tower.out_features if audio else 768,),
            "patch_stride": ([tower.patch_size] * 2, tower.patch_size, (tower.patch_size,) * 2),
        },
    )
    return CLAP(
        text=RoBERTa(**_fields(text, _TEXT_FIELDS)),
        audio=tower,
        projection_dim=config.get("projection_dim", 512),
    )


def to_config(module: CLAP) -> dict[str, Any]:
    """The config.json of `transformers.ClapModel`."""
    stride = [module.audio.patch_size] * 2
    return {
        "architectures": ["ClapModel"],
        "model_type": "clap",
        "projection_dim": module.projection_dim,
        "projection_hidden_act": "relu",
        "logit_scale_init_value": 1 / 0.07,
        "hidden_size": module.text.hidden_size,
        "num_hidden_layers": module.text.num_layers + len(module.audio.depths),
        "text_config": {
            "model_type": "clap_text_model",
            "hidden_act": "gelu",
            "projection_dim": module.projection_dim,
            "projection_hidden_act": "relu",
            **_keys(module.text, _TEXT_FIELDS),
        },
        "audio_config": {
            "model_type": "clap_audio_model",
            "hidden_act": "gelu",
            "hidden_size": module.audio.out_features,
            "patch_stride": stride,
            "projection_dim": module.projection_dim,
            "projection_hidden_act": "relu",
            **_keys(module.audio, _AUDIO_FIELDS),
        },
    }


def laion_config(variant: Literal["tiny", "base", "large"], *, fusion: bool = False) -> dict[str, Any]:
    """The config, in `transformers`' words, of LAION's "HTSAT-`variant`" with RoBERTa.

    AudioLDM 2 has "base" without fusion. The epsilon is that of roberta-base, which LAION's code loads.
    """
    width, third = {"tiny": (96, 6), "base": (128, 12), "large": (256, 12)}[variant]
    tower = HTSAT(embed_dim=width, depths=(2, 2, third, 2), fusion=fusion)
    return to_config(CLAP(text=RoBERTa(layer_norm_eps=1e-5), audio=tower))


def laion_config_of(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """`laion_config` of a file in LAION's layout, told by its tensors.

    Raises:
        ConversionError: no patch embedding of a known width, or none of the four-spectrogram kind of fusion.
    """
    names = {name.removeprefix("module."): name for name in tensors}
    patches = names.get("audio_branch.patch_embed.proj.weight")
    shape = None if patches is None else tuple(tensors[patches].shape)
    variants = {(width, 1, 4, 4): variant for variant, width in (("tiny", 96), ("base", 128), ("large", 256))}
    if shape not in variants:
        raise ConversionError(
            f"audio_branch.patch_embed.proj.weight is {shape or 'missing'}; an HTSAT has one of {list(variants)}"
        )
    fusion = "audio_branch.patch_embed.mel_conv2d.weight" in names
    return laion_config(variants[shape], fusion=fusion)


def buffers(module: CLAP) -> dict[str, np.ndarray]:
    """Constants that `ClapModel` stores beside its parameters: with them, exported weights load strictly."""
    ids = np.arange(module.text.max_position_embeddings)[None]
    constants = {"position_ids": ids, "token_type_ids": np.zeros_like(ids)}
    constants = {f"text_model.embeddings.{name}": x for name, x in constants.items()}
    for stage, depth in enumerate(module.audio.depths):
        for block in range(depth):
            name = f"{_AUDIO}.layers.{stage}.blocks.{block}.attention.self.relative_position_index"
            constants[name] = relative_position_index(module.audio.window)
    counted = ["batch_norm"]
    if module.audio.fusion:
        places = ("local_att.1", "local_att.4", "global_att.2", "global_att.5")
        counted += [f"patch_embed.fusion_model.{place}" for place in places]
    zero = np.zeros((), np.int64)
    return constants | {f"{_AUDIO}.{name}.num_batches_tracked": zero for name in counted}


def _fields(config: Mapping[str, Any], fields: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    values = {field: config.get(key, default) for key, (field, default) in fields.items()}
    return {key: tuple(x) if isinstance(x, list) else x for key, x in values.items()}


def _keys(module: RoBERTa | HTSAT, fields: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    values = {key: getattr(module, field) for key, (field, _) in fields.items()}
    return {key: list(x) if isinstance(x, tuple) else x for key, x in values.items()}


def _check(prefix: str, config: Mapping[str, Any], supported: Mapping[str, tuple[Any, ...]]) -> None:
    for key, values in supported.items():
        if config.get(key, values[0]) not in values:
            raise ConversionError(
                f"{prefix}{key} is {config[key]!r}; supported is {' or '.join(map(repr, values))}"
            )


def _check_geometry(tower: HTSAT) -> None:
    """Every stage is whole windows, and the folded spectrogram fills the image."""
    if tower.image_size % tower.num_mels:
        raise ConversionError(
            f"audio_config.num_mel_bins is {tower.num_mels}; supported are divisors of "
            f"spec_size {tower.image_size}"
        )
    if len(tower.depths) != len(tower.num_heads):
        raise ConversionError(
            f"audio_config.num_attention_heads is {list(tower.num_heads)}; supported is one number "
            f"a stage of depths {list(tower.depths)}"
        )
    unit = tower.patch_size * tower.window * 2 ** (len(tower.depths) - 1)
    if tower.image_size % unit:
        raise ConversionError(
            f"audio_config.spec_size is {tower.image_size}; supported are multiples of {unit}, "
            f"whole windows of {tower.window} in each of {len(tower.depths)} stages"
        )
