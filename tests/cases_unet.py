"""UNets for the tests: configs as published, small ones, and their inputs. No torch."""

from collections.abc import Mapping

import numpy as np

from tests.golden import random_array, random_tensors

BASE = {  # cvssp/audioldm2 and cvssp/audioldm2-music
    "_class_name": "AudioLDM2UNet2DConditionModel",
    "_diffusers_version": "0.20.0.dev0",
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [128, 256, 384, 640],
    "class_embed_type": None,
    "class_embeddings_concat": False,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "cross_attention_dim": [[None, 768, 1024]] * 4,
    "down_block_types": ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 3,
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 8,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "num_attention_heads": None,
    "num_class_embeds": None,
    "only_cross_attention": False,
    "out_channels": 8,
    "projection_class_embeddings_input_dim": None,
    "resnet_time_scale_shift": "default",
    "sample_size": 256,
    "time_cond_proj_dim": None,
    "time_embedding_act_fn": None,
    "time_embedding_dim": None,
    "time_embedding_type": "positional",
    "timestep_post_act": None,
    "transformer_layers_per_block": 1,
    "up_block_types": ["CrossAttnUpBlock2D"] * 3 + ["UpBlock2D"],
    "upcast_attention": False,
    "use_linear_projection": False,
}
_FILM = {"class_embed_type": "simple_projection", "class_embeddings_concat": True}
WIDE_32 = {"attention_head_dim": [4, 8, 12, 20]}  # the numbers of heads that are 32 wide
PUBLISHED = {  # the last two have no diffusers folder; this is how one would say it
    "base": BASE,
    "large": BASE
    | {"cross_attention_dim": [[None, 768, 1024, None]] * 4, "transformer_layers_per_block": 2},
    "speech": BASE | {"cross_attention_dim": [[None, 768]] * 4, "sample_size": 262},
    "t5": BASE | {"cross_attention_dim": [[None, 1024]] * 4},
    "48k": BASE
    | {"cross_attention_dim": [[None, None]] * 4, "in_channels": 16, "out_channels": 16}
    | {**_FILM, "projection_class_embeddings_input_dim": 512},
}
PARAMETERS = {
    "base": 346_943_496,
    "large": 718_012_296,
    "speech": 261_926_536,
    "t5": 265_531_016,
    "48k": 262_699_152,
}
TENSORS = {"base": 1520, "large": 3216}
OFFICIAL = {  # the official checkpoint of each shape
    "base": "audioldm2-full",
    "large": "audioldm2-full-large-1150k",
    "speech": "audioldm2-speech-ljspeech",
    "t5": "audioldm_16k_crossattn_t5",
    "48k": "audioldm_48k",
}

_TWO = {
    "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "in_channels": 3,
    "out_channels": 3,
    "attention_head_dim": 2,
}
_THREE = _TWO | {
    "block_out_channels": [8, 16, 24],
    "down_block_types": ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 2,
    "up_block_types": ["CrossAttnUpBlock2D"] * 2 + ["UpBlock2D"],
}
_ATTENDED = _TWO | {  # heads are of one width here
    "down_block_types": ["CrossAttnDownBlock2D"] * 2,
    "up_block_types": ["CrossAttnUpBlock2D"] * 2,
    "attention_head_dim": [2, 4],
}
TINY = {
    "base": BASE | _TWO | {"cross_attention_dim": [[None, 6, 10]] * 2, "layers_per_block": 2},
    "large": BASE
    | _TWO
    | {"cross_attention_dim": [[None, 6, 10, None]] * 2, "transformer_layers_per_block": 2},
    "speech": BASE | _THREE | {"cross_attention_dim": [[None, 6]] * 3},
    "t5": BASE | _TWO | {"cross_attention_dim": [[None, 10]] * 2},
    "48k": BASE
    | _ATTENDED
    | {"cross_attention_dim": [[None, None]] * 2, "in_channels": 2, "out_channels": 5}
    | {**_FILM, "projection_class_embeddings_input_dim": 12},
}
SIZES = {  # (time, freq) of latents: even, odd, the least
    "base": (12, 6),
    "large": (7, 16),
    "speech": (25, 4),
    "t5": (1, 16),
    "48k": (9, 5),
}


def widths(config: dict) -> list[int]:
    """Of the contexts."""
    return [width for width in config["cross_attention_dim"][0] if width is not None]


def inputs(config: dict, size: tuple[int, int], *, batch: int = 2) -> dict[str, np.ndarray]:
    """Two rows at different timesteps, one of them fractional.

    The last context has tokens that are masked out, in another number in each row.
    """
    arrays = {"latents": random_array("latents", (batch, *size, config["in_channels"]))}
    arrays["timesteps"] = np.array([981.0, 37.5])[:batch]
    tokens = 0
    for k, width in enumerate(widths(config)):
        tokens = 3 + 2 * k
        arrays[f"context_{k}"] = random_array(f"context_{k}", (batch, tokens, width))
    if tokens:
        kept = tokens - 1 - np.arange(batch)
        arrays[f"mask_{len(widths(config)) - 1}"] = np.arange(tokens) < kept[:, None]
    if width := config["projection_class_embeddings_input_dim"]:
        arrays["film"] = random_array("film", (batch, width))
    return arrays


def tensors(
    shapes: Mapping[str, tuple[int, ...]], *, dtype: str = "float64"
) -> dict[str, np.ndarray]:
    """Random weights; those of the time's and the clip's embedding are matrices like the others."""
    weights = {}
    for name, shape in shapes.items():
        x = random_tensors({name: shape})[name].astype(np.float32)
        if "_embedding" in name and len(shape) == 2:
            x /= np.float32(np.sqrt(shape[1]))
        weights[name] = x.astype(dtype)
    return weights


def official_name(name: str, config: dict) -> str:
    """A tensor's name in official checkpoints, from diffusers'; every index in closed form."""
    layers, slots = config["layers_per_block"], len(config["cross_attention_dim"][0])
    resnet = {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }
    match name.split("."):
        case ["mid_block", "resnets", j, layer, leaf]:
            return f"middle_block.{int(j) * (slots + 1)}.{resnet[layer]}.{leaf}"
        case ["mid_block", "attentions", k, *rest]:
            return f"middle_block.{int(k) + 1}.{'.'.join(rest)}"
        case ["down_blocks", i, "downsamplers", "0", "conv", leaf]:
            return f"input_blocks.{(int(i) + 1) * (layers + 1)}.0.op.{leaf}"
        case ["up_blocks", i, "upsamplers", "0", "conv", leaf]:
            last = 1 + slots * ("CrossAttn" in config["up_block_types"][int(i)])
            return f"output_blocks.{(int(i) + 1) * (layers + 1) - 1}.{last}.conv.{leaf}"
        case [("down_blocks" | "up_blocks") as way, i, "resnets", j, layer, leaf]:
            first = 1 if way == "down_blocks" else 0
            block = first + int(i) * (layers + 1) + int(j)
            place = "input_blocks" if first else "output_blocks"
            return f"{place}.{block}.0.{resnet[layer]}.{leaf}"
        case [("down_blocks" | "up_blocks") as way, i, "attentions", k, *rest]:
            first = 1 if way == "down_blocks" else 0
            block = first + int(i) * (layers + 1) + int(k) // slots
            place = "input_blocks" if first else "output_blocks"
            return f"{place}.{block}.{1 + int(k) % slots}.{'.'.join(rest)}"
        case ["time_embedding", layer, leaf]:
            return f"time_embed.{ {'linear_1': 0, 'linear_2': 2}[layer] }.{leaf}"
        case [layer, leaf]:
            top = {"conv_in": "input_blocks.0.0", "class_embedding": "film_emb"}
            top |= {"conv_norm_out": "out.0", "conv_out": "out.2"}
            return f"{top[layer]}.{leaf}"
    raise ValueError(name)
