"""VAEs for the tests: configs as published, small ones, and their inputs. No torch."""

import numpy as np

from tests.golden import random_array

PUBLISHED = {  # cvssp/audioldm2 and its siblings
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.20.0.dev0",
    "in_channels": 1,
    "out_channels": 1,
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "block_out_channels": [128, 256, 512],
    "layers_per_block": 2,
    "act_fn": "silu",
    "latent_channels": 8,
    "norm_num_groups": 32,
    "sample_size": 1024,
    "scaling_factor": 0.4110932946205139,
}
PUBLISHED_48K = PUBLISHED | {  # of the official 48 kHz model, which no diffusers folder holds
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 1024],
    "latent_channels": 16,
}
PUBLISHED_PARAMETERS, PUBLISHED_TENSORS = 55_376_873, 204
PUBLISHED_48K_PARAMETERS = 223_535_569

TINY = {
    "two_levels": PUBLISHED
    | {
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
        "block_out_channels": [8, 16],
        "layers_per_block": 1,
        "latent_channels": 3,
        "norm_num_groups": 4,
    },
    "three_levels": PUBLISHED
    | {
        "in_channels": 2,
        "out_channels": 2,
        "block_out_channels": [8, 16, 16],  # the innermost level without a shortcut convolution
        "latent_channels": 4,
        "norm_num_groups": 2,
        "scaling_factor": 0.25,
    },
}


def inputs(config: dict, *, time: int = 5, freq: int = 3) -> dict[str, np.ndarray]:
    """A mel whose sides do not halve evenly and latents of their own, channels last."""
    factor = 2 ** (len(config["block_out_channels"]) - 1)
    mel = (2, factor * time + 1, factor * freq + factor - 1, config["in_channels"])
    latents = (2, time, freq, config["latent_channels"])
    return {"mel": random_array("mel", mel), "latents": random_array("latents", latents)}


def rename_as_old(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As diffusers named attention before 0.17."""
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for name, tensor in tensors.items():
        for new, old in names.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
        renamed[name] = tensor
    return renamed


def rename_as_official(tensors: dict[str, np.ndarray], levels: int) -> dict[str, np.ndarray]:
    """As the official code names them, read off a listing of its module's state_dict."""
    renamed = {}
    for name, tensor in tensors.items():
        half, *parts = name.split(".")
        layer = parts[-2:]
        match parts:
            case ["down_blocks", i, "resnets", j, *_]:
                layer = ["down", i, "block", j, *parts[4:]]
            case ["down_blocks", i, "downsamplers", "0", *_]:
                layer = ["down", i, "downsample", *parts[4:]]
            case ["up_blocks", i, "resnets", j, *_]:
                layer = ["up", str(levels - 1 - int(i)), "block", j, *parts[4:]]
            case ["up_blocks", i, "upsamplers", "0", *_]:
                layer = ["up", str(levels - 1 - int(i)), "upsample", *parts[4:]]
            case ["mid_block", "resnets", j, *_]:
                layer = ["mid", f"block_{int(j) + 1}", *parts[3:]]
            case ["mid_block", "attentions", "0", kind, *_]:
                short = {"group_norm": "norm", "to_out": "proj_out"}.get(kind, kind[-1])
                layer = ["mid", "attn_1", short, parts[-1]]
                if kind != "group_norm" and parts[-1] == "weight":
                    tensor = tensor[:, :, None, None]
            case ["conv_norm_out", _]:
                layer = ["norm_out", parts[-1]]
            case [_]:  # quant_conv, post_quant_conv
                layer = parts
        renamed[".".join([half, *layer]).replace("conv_shortcut", "nin_shortcut")] = tensor
    return renamed
