"""CLAP: `transformers`' config.json, LAION's variants, and (from `clap_tables`) the names of both.

The official AudioLDM 2 checkpoints hold LAION's names behind "clap.model." and other prefixes,
which the caller strips.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ldm_jax.convert.clap_tables import LAION, TRANSFORMERS
from ldm_jax.convert.rules import ConversionError
from ldm_jax.models.clap import CLAP
from ldm_jax.models.htsat import HTSAT
from ldm_jax.models.roberta import RoBERTa
from ldm_jax.models.swin import relative_position_index

__all__ = [
    "FEATURE_EXTRACTOR",
    "LAION",
    "TRANSFORMERS",
    "buffers",
    "from_config",
    "laion_config",
    "laion_config_of",
    "to_config",
]

_ENCODER = "audio_model.audio_encoder"

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
_LAION_SIZES = {"tiny": (96, 6), "base": (128, 12), "large": (256, 12)}  # width, third depth


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
            "hidden_size": (tower.out_features,),
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


def laion_config(variant: str, *, fusion: bool = False) -> dict[str, Any]:
    """The config, in `transformers`' words, of LAION's HTSAT-tiny, -base or -large with RoBERTa.

    AudioLDM 2 has "base" without fusion. The text tower's epsilon is that of roberta-base, which
    LAION's code loads.

    Raises:
        ConversionError: another variant.
    """
    _check("", {"variant": variant}, {"variant": tuple(_LAION_SIZES)})
    width, third = _LAION_SIZES[variant]
    tower = HTSAT(embed_dim=width, depths=(2, 2, third, 2), fusion=fusion)
    return to_config(CLAP(text=RoBERTa(layer_norm_eps=1e-5), audio=tower))


def laion_config_of(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """`laion_config` of a file in LAION's layout, told by its tensors.

    Raises:
        ConversionError: no patch embedding, or one of another width or kind of fusion.
    """
    patches, parts = (f"audio_branch.patch_embed.{x}.weight" for x in ("proj", "mel_conv2d"))
    shapes = {name.removeprefix("module."): tensors[name].shape for name in tensors}
    shape = tuple(shapes.get(patches, ()))
    for variant, (width, _) in _LAION_SIZES.items():
        if shape == (width, 1, 4, 4):
            return laion_config(variant, fusion=parts in shapes)
    widths = ", ".join(str(width) for width, _ in _LAION_SIZES.values())
    raise ConversionError(
        f"{patches} is {shape or 'missing'}; supported is (width, 1, 4, 4), width one of {widths}"
    )


def buffers(module: CLAP) -> dict[str, np.ndarray]:
    """Constants that `ClapModel` stores beside its parameters, and strict loading asks for."""
    ids = np.arange(module.text.max_position_embeddings)[None]
    constants = {"position_ids": ids, "token_type_ids": np.zeros_like(ids)}
    constants = {f"text_model.embeddings.{name}": x for name, x in constants.items()}
    for stage, depth in enumerate(module.audio.depths):
        for block in range(depth):
            name = (
                f"{_ENCODER}.layers.{stage}.blocks.{block}.attention.self.relative_position_index"
            )
            constants[name] = relative_position_index(module.audio.window).astype(np.int64)
    counted = ["batch_norm"]
    if module.audio.fusion:
        places = ("local_att.1", "local_att.4", "global_att.2", "global_att.5")
        counted += [f"patch_embed.fusion_model.{place}" for place in places]
    zero = np.zeros((), np.int64)
    return constants | {f"{_ENCODER}.{name}.num_batches_tracked": zero for name in counted}


def _fields(config: Mapping[str, Any], fields: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    values = {field: config.get(key, default) for key, (field, default) in fields.items()}
    return {key: tuple(x) if isinstance(x, list) else x for key, x in values.items()}


def _keys(module: RoBERTa | HTSAT, fields: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    values = {key: getattr(module, field) for key, (field, _) in fields.items()}
    return {key: list(x) if isinstance(x, tuple) else x for key, x in values.items()}


def _check(
    prefix: str, config: Mapping[str, Any], supported: Mapping[str, tuple[Any, ...]]
) -> None:
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
