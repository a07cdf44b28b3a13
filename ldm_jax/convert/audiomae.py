"""Published AudioMAE weights: keys of facebookresearch/AudioMAE's `MaskedAutoencoderViT`.

`pretrained.pth` and `audiomae_16k_128bins.ckpt` hold them under "model", an AudioLDM 2 bundle under
the prefix "cond_stage_models.0.cond_stage_models.2.audiomae.model.", which the caller strips. None
carries a configuration: `config_of` reads it off the shapes.

Do not trust the decoder in an AudioLDM 2 bundle. AudioLDM 2 builds the "vit" decoder and loads a
pretraining checkpoint into it, not strictly. Pretraining by default trains the "swin" decoder, half
of whose blocks fit by name and shape. For features convert with `ENCODER` to a network without one.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ldm_jax.convert.rules import IDENTITY, LINEAR, ConversionError, Rule, Table, Transform
from ldm_jax.models.audiomae import AudioMAE

MEL_BINS = 128
HEAD_DIM = 64  # of the encoder at every published size
SWIN_DEPTH, SWIN_HEADS = 16, 16  # fixed in the published class
DECODER_MODES = {0: "vit", 1: "swin", None: None}

# The published constructor's arguments with one value that we support ...
_FIXED = {"in_chans": 1, "audio_exp": True, "use_custom_patch": False, "no_shift": False}
# ... and those that change no output: training, augmentation, or unused there too.
_WITHOUT_EFFECT = (
    *("norm_pix_loss", "alpha", "temperature", "mode", "split_pos", "pos_trainable", "use_nce"),
    *("beta", "mask_t_prob", "mask_f_prob", "mask_2d", "epoch", "stride"),
)
_FIELDS = {
    "img_size": "img_size",
    "patch_size": "patch_size",
    "embed_dim": "embed_dim",
    "depth": "depth",
    "num_heads": "heads",
    "mlp_ratio": "mlp_ratio",
    "decoder_embed_dim": "decoder_dim",
    "decoder_depth": "decoder_depth",
    "decoder_num_heads": "decoder_heads",
}

PATCHES = Transform(  # a square convolution kernel (out, 1, p, p) as (p * p, out)
    forward=lambda x: (x.reshape(x.shape[0], -1).T,),
    backward=lambda x: (x.T.reshape(x.shape[1], 1, math.isqrt(x.shape[0]), -1),),
)


def _dense(source: str, path: str) -> tuple[Rule, Rule]:
    return (
        Rule(f"{source}.weight", f"{path}/kernel", LINEAR),
        Rule(f"{source}.bias", f"{path}/bias"),
    )


def _norm(source: str, path: str) -> tuple[Rule, Rule]:
    return Rule(f"{source}.weight", f"{path}/scale"), Rule(f"{source}.bias", f"{path}/bias")


def _blocks(name: str) -> tuple[Rule, ...]:
    source, path = f"{name}.{{i}}", f"{name}_{{i}}"
    return (
        *_norm(f"{source}.norm1", f"{path}/norm1"),
        *_dense(f"{source}.attn.qkv", f"{path}/attn/qkv"),
        *_dense(f"{source}.attn.proj", f"{path}/attn/proj"),
        *_norm(f"{source}.norm2", f"{path}/norm2"),
        *_dense(f"{source}.mlp.fc{{j}}", f"{path}/mlp/fc{{j}}"),
    )


_ENCODER = (
    Rule("cls_token", "cls_token"),
    Rule("pos_embed", "pos_embed"),
    Rule("patch_embed.proj.weight", "patch_embed/proj/kernel", PATCHES),
    Rule("patch_embed.proj.bias", "patch_embed/proj/bias"),
    *_blocks("blocks"),
    *_norm("norm", "norm"),
)
_SWIN = (
    Rule("decoder_blocks.{i}.attn.tau", "decoder_blocks_{i}/attn/tau", IDENTITY),
    *_dense("decoder_blocks.{i}.attn.meta_mlp.fc{j}", "decoder_blocks_{i}/attn/meta_mlp/fc{j}"),
)
_DECODER = (
    Rule("mask_token", "mask_token"),
    Rule("decoder_pos_embed", "decoder_pos_embed"),
    *_dense("decoder_embed", "decoder_embed"),
    *_blocks("decoder_blocks"),
    *_SWIN,
    *_norm("decoder_norm", "decoder_norm"),
    *_dense("decoder_pred", "decoder_pred"),
)

OFFICIAL = Table(rules=(*_ENCODER, *_DECODER))
ENCODER = Table(rules=_ENCODER, ignored=("mask_token", "decoder_{rest:any}"))


def from_config(config: Mapping[str, Any]) -> AudioMAE:
    """The network that `MaskedAutoencoderViT(**config)` builds.

    Args:
        config: its arguments. A `decoder_mode` of None, ours alone, leaves the decoder out.

    Raises:
        ConversionError: an argument is unknown, or has a value that is not supported.
    """
    config = dict(config)
    for key in _WITHOUT_EFFECT:
        config.pop(key, None)
    for key, supported in _FIXED.items():
        if (given := config.pop(key, supported)) != supported:
            raise ConversionError(f"AudioMAE's {key} is {given!r}; only {supported!r} is supported")
    mode, contextual = config.pop("decoder_mode", 0), config.pop("contextual_depth", 8)
    if mode not in DECODER_MODES:
        raise ConversionError(f"AudioMAE's decoder_mode is {mode!r}; supported are 0, 1 and None")
    if unknown := sorted(set(config) - set(_FIELDS)):
        raise ConversionError(f"AudioMAE's configuration has unknown keys: {', '.join(unknown)}")
    fields = {_FIELDS[key]: value for key, value in config.items()}
    if "img_size" in fields:
        fields["img_size"] = tuple(fields["img_size"])
    if mode == 1:  # the published class leaves no choice
        fields |= {"decoder_depth": SWIN_DEPTH, "decoder_heads": SWIN_HEADS}
    depth = fields.setdefault("depth", AudioMAE.depth)
    if not 0 <= contextual < depth - 1:
        raise ConversionError(
            f"AudioMAE's contextual_depth is {contextual!r}; with a depth of {depth} supported are "
            f"0 to {depth - 2}"
        )
    ratio = fields.pop("mlp_ratio", AudioMAE.mlp_ratio)
    if ratio != int(ratio):
        raise ConversionError(
            f"AudioMAE's mlp_ratio is {ratio!r}; only whole numbers are supported"
        )
    averaged = depth - 1 - contextual
    decoder = DECODER_MODES[mode]
    return AudioMAE(**fields, mlp_ratio=int(ratio), averaged_blocks=averaged, decoder=decoder)


def to_config(module: AudioMAE) -> dict[str, Any]:
    """The arguments with which the published class builds `module`.

    Raises:
        ConversionError: the published class cannot build it.
    """
    swin = module.decoder == "swin"
    if swin and (module.decoder_depth, module.decoder_heads) != (SWIN_DEPTH, SWIN_HEADS):
        raise ConversionError(
            f"a swin decoder of {module.decoder_depth} blocks and {module.decoder_heads} heads has "
            f"no published form; it must have {SWIN_DEPTH} and {SWIN_HEADS}"
        )
    config: dict[str, Any] = {key: getattr(module, field) for key, field in _FIELDS.items()}
    config["img_size"] = list(module.img_size)
    modes = {name: mode for mode, name in DECODER_MODES.items()}
    return {
        **config,
        **{key: _FIXED[key] for key in ("in_chans", "audio_exp")},
        "contextual_depth": module.depth - 1 - module.averaged_blocks,
        "decoder_mode": modes[module.decoder],
    }


def config_of(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The constructor's arguments for a checkpoint: from shapes, and the published sizes of heads.

    Raises:
        ConversionError: a tensor that any AudioMAE has is missing.
    """
    needed = (
        "cls_token",
        "pos_embed",
        "patch_embed.proj.weight",
        "blocks.0.mlp.fc1.weight",
        "norm.weight",
    )
    if missing := [name for name in needed if name not in tensors]:
        raise ConversionError(
            f"these are not the weights of a pretrained AudioMAE: no {missing[0]}"
        )
    embed_dim = tensors["cls_token"].shape[-1]
    patch_size = tensors["patch_embed.proj.weight"].shape[-1]
    pixels = (tensors["pos_embed"].shape[1] - 1) * patch_size**2
    config: dict[str, Any] = {
        "img_size": [pixels // MEL_BINS, MEL_BINS],
        "patch_size": patch_size,
        "in_chans": tensors["patch_embed.proj.weight"].shape[1],
        "audio_exp": True,
        "embed_dim": embed_dim,
        "depth": _count("blocks", tensors),
        "num_heads": embed_dim // HEAD_DIM,
        "mlp_ratio": tensors["blocks.0.mlp.fc1.weight"].shape[0] // embed_dim,
    }
    if not (depth := _count("decoder_blocks", tensors)):
        return {**config, "decoder_mode": None}
    return {
        **config,
        "decoder_mode": int("decoder_blocks.0.attn.tau" in tensors),
        "decoder_embed_dim": tensors["decoder_embed.weight"].shape[0],
        "decoder_depth": depth,
        "decoder_num_heads": SWIN_HEADS,  # the "vit" decoder has as many
    }


def _count(stack: str, tensors: Mapping[str, np.ndarray]) -> int:
    index = 0
    while f"{stack}.{index}.norm1.weight" in tensors:
        index += 1
    return index
