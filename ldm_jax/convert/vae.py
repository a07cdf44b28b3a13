"""Published VAE weights: diffusers' `AutoencoderKL`, and the official code's `AutoencoderKL`.

Official names stand behind "first_stage_model." in a whole checkpoint (the caller strips that) and
bare in a VAE's own, such as `vae_mel_16k_64bins.ckpt`. The vocoder beside them has its own table.
"""

from collections.abc import Mapping
from typing import Any

from ldm_jax.convert.rules import (
    CONV2D,
    LINEAR,
    POINTWISE_AS_LINEAR,
    ConversionError,
    Rule,
    Table,
    Transform,
)
from ldm_jax.models.vae import VAE

Rules = tuple[Rule, ...]


def _layer(source: str, path: str, layout: Transform = CONV2D) -> Rules:
    weight = Rule(f"{source}.weight", f"{path}/kernel", layout)
    return weight, Rule(f"{source}.bias", f"{path}/bias")


def _norm(source: str, path: str) -> Rules:
    return Rule(f"{source}.weight", f"{path}/scale"), Rule(f"{source}.bias", f"{path}/bias")


def _resnet(source: str, path: str, *, shortcut: str) -> Rules:
    return (
        *_norm(f"{source}.norm{{n}}", f"{path}/norm{{n}}"),
        *_layer(f"{source}.conv{{n}}", f"{path}/conv{{n}}"),
        *_layer(f"{source}.{shortcut}", f"{path}/conv_shortcut"),
    )


def _attention(source: str, names: Mapping[str, str], layout: Transform) -> Rules:
    path = "{half:word}/mid_block/attentions_0"
    layers = (_layer(f"{source}.{x}", f"{path}/{y}", layout) for x, y in names.items())
    return tuple(rule for layer in layers for rule in layer)


_ENDS = (
    *_layer("{half:word}.conv_in", "{half:word}/conv_in"),
    *_layer("{half:word}.conv_out", "{half:word}/conv_out"),
    *_layer("quant_conv", "quant_conv"),
    *_layer("post_quant_conv", "post_quant_conv"),
)
_MID, _MID_PATH = "{half:word}.mid_block", "{half:word}/mid_block"
_LEVEL, _LEVEL_PATH = "{half:word}.{side:word}_blocks.{i}", "{half:word}/{side:word}_blocks_{i}"

DIFFUSERS = Table(
    rules=(
        *_ENDS,
        *_norm("{half:word}.conv_norm_out", "{half:word}/conv_norm_out"),
        *_resnet(f"{_MID}.resnets.{{j}}", f"{_MID_PATH}/resnets_{{j}}", shortcut="conv_shortcut"),
        *_resnet(
            f"{_LEVEL}.resnets.{{j}}", f"{_LEVEL_PATH}/resnets_{{j}}", shortcut="conv_shortcut"
        ),
        *_layer(
            f"{_LEVEL}.{{way:word}}samplers.0.conv", f"{_LEVEL_PATH}/{{way:word}}samplers_0/conv"
        ),
        *_norm(f"{_MID}.attentions.0.group_norm", f"{_MID_PATH}/attentions_0/group_norm"),
        *_attention(
            f"{_MID}.attentions.0",
            {"to_q": "to_q", "to_k": "to_k", "to_v": "to_v", "to_out.0": "to_out_0"},
            LINEAR,
        ),
        # What the same four were called before diffusers 0.17; read, never written.
        *_attention(
            f"{_MID}.attentions.0",
            {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out_0"},
            LINEAR,
        ),
    )
)


def official_table(levels: int) -> Table:
    """Of the official names, for a VAE of `levels` = len(block_out_channels).

    There the decoder's levels are counted from its output, in diffusers from its input.
    """
    encoder, path = "encoder.down.{i}", "encoder/down_blocks_{i}"
    rules = [
        *_ENDS,
        *_norm("{half:word}.norm_out", "{half:word}/conv_norm_out"),
        *_resnet(f"{encoder}.block.{{j}}", f"{path}/resnets_{{j}}", shortcut="nin_shortcut"),
        *_layer(f"{encoder}.downsample.conv", f"{path}/downsamplers_0/conv"),
        *_norm("{half:word}.mid.attn_1.norm", f"{_MID_PATH}/attentions_0/group_norm"),
        *_attention(
            "{half:word}.mid.attn_1",
            {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out_0"},
            POINTWISE_AS_LINEAR,
        ),
    ]
    for i in range(2):
        source, path = f"{{half:word}}.mid.block_{i + 1}", f"{_MID_PATH}/resnets_{i}"
        rules += _resnet(source, path, shortcut="nin_shortcut")
    for i in range(levels):
        source, path = f"decoder.up.{i}", f"decoder/up_blocks_{levels - 1 - i}"
        rules += _resnet(f"{source}.block.{{j}}", f"{path}/resnets_{{j}}", shortcut="nin_shortcut")
        rules += _layer(f"{source}.upsample.conv", f"{path}/upsamplers_0/conv")
    return Table(rules=rules, ignored=("vocoder.{rest:any}", "loss.{rest:any}"))


_FIELDS = {  # of VAE, by key of config.json, and the value where a config lacks that key
    "in_channels": ("in_channels", 3),
    "block_out_channels": ("block_out_channels", (64,)),
    "layers_per_block": ("layers_per_block", 1),
    "latent_channels": ("latent_channels", 4),
    "norm_num_groups": ("norm_groups", 32),
    "scaling_factor": ("scaling_factor", 0.18215),
}
_FIXED = {
    "act_fn": "silu",
    "shift_factor": None,
    "latents_mean": None,
    "latents_std": None,
    "use_quant_conv": True,
    "use_post_quant_conv": True,
    "mid_block_add_attention": True,
}
_BLOCKS = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"}
_WITHOUT_EFFECT = ("sample_size", "force_upcast")  # on tiles and half precision in diffusers alone


def from_config(config: Mapping[str, Any]) -> VAE:
    """The network that a config.json of `diffusers.AutoencoderKL` describes.

    Raises:
        ConversionError: a key that is not known, or a variant that is not supported.
    """
    known = {*_FIELDS, *_FIXED, *_BLOCKS, *_WITHOUT_EFFECT, "out_channels"}
    for key, value in config.items():
        if key not in known and not key.startswith("_"):
            raise ConversionError(f"{key} is {value!r}; known are {', '.join(sorted(known))}")
    for key, supported in _FIXED.items():
        if (value := config.get(key, supported)) != supported:
            raise ConversionError(f"{key} is {value!r}; supported is {supported!r}")
    values = {field: config.get(key, default) for key, (field, default) in _FIELDS.items()}
    values["block_out_channels"] = tuple(values["block_out_channels"])
    for key, block in _BLOCKS.items():
        supported = [block] * len(values["block_out_channels"])
        if (value := list(config.get(key, [block]))) != supported:
            raise ConversionError(f"{key} is {value!r}; supported is {supported!r}")
    if (value := config.get("out_channels", 3)) != values["in_channels"]:
        raise ConversionError(f"out_channels is {value!r}; supported is that of in_channels")
    return VAE(**values)


def to_config(module: VAE) -> dict[str, Any]:
    """The config.json of `diffusers.AutoencoderKL`."""
    config = {key: getattr(module, field) for key, (field, _) in _FIELDS.items()}
    config["block_out_channels"] = list(module.block_out_channels)
    return {
        "_class_name": "AutoencoderKL",
        **config,
        "out_channels": module.in_channels,
        **{key: [block] * len(module.block_out_channels) for key, block in _BLOCKS.items()},
        "act_fn": _FIXED["act_fn"],
        "sample_size": 1024,  # of the published models: frames in 10.24 s
    }


_DDCONFIG_FIXED = {
    "double_z": True,
    "attn_resolutions": [],
    "downsample_time": False,
    "in_channels": 1,
    "out_ch": 1,
}
OFFICIAL_CONFIGS = {  # `ddconfig` of the official code, by sample rate in Hz
    16_000: {"ch": 128, "ch_mult": [1, 2, 4], "num_res_blocks": 2, "z_channels": 8},
    48_000: {"ch": 128, "ch_mult": [1, 2, 4, 8], "num_res_blocks": 2, "z_channels": 16},
}


def from_official(ddconfig: Mapping[str, Any], *, scaling_factor: float) -> VAE:
    """The network that `ddconfig` in an official configuration describes.

    Args:
        ddconfig: of the VAE's entry, or one of `OFFICIAL_CONFIGS`.
        scaling_factor: the tensor `scale_factor` of a whole checkpoint; a VAE's own has none.

    Raises:
        ConversionError: a variant that is not supported.
    """
    for key, supported in _DDCONFIG_FIXED.items():
        if (value := ddconfig.get(key, supported)) != supported:
            raise ConversionError(f"{key} is {value!r}; supported is {supported!r}")
    return VAE(
        block_out_channels=tuple(ddconfig["ch"] * x for x in ddconfig["ch_mult"]),
        latent_channels=ddconfig["z_channels"],
        layers_per_block=ddconfig["num_res_blocks"],
        norm_groups=32,
        scaling_factor=scaling_factor,
    )
