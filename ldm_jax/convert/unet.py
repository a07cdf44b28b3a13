"""The UNet's published configs, diffusers' and the official ones; the tables lie beside."""

from collections.abc import Mapping, Sequence
from typing import Any

from ldm_jax.convert.rules import ConversionError
from ldm_jax.convert.unet_tables import DIFFUSERS, official_table
from ldm_jax.models.unet import UNet

__all__ = [
    "DIFFUSERS",
    "OFFICIAL_CONFIGS",
    "from_config",
    "from_official",
    "official_table",
    "to_config",
]

_FIELDS = {  # of UNet, by key of config.json, and the value where a config lacks that key
    "in_channels": ("in_channels", 4),
    "out_channels": ("out_channels", 4),
    "norm_num_groups": ("norm_groups", 32),
    "norm_eps": ("norm_eps", 1e-5),
}
_FIXED = {
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "only_cross_attention": False,
    "downsample_padding": 1,
    "mid_block_scale_factor": 1,
    "act_fn": "silu",
    "num_attention_heads": None,
    "use_linear_projection": False,
    "num_class_embeds": None,
    "upcast_attention": False,
    "resnet_time_scale_shift": "default",
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "time_embedding_act_fn": None,
    "timestep_post_act": None,
    "time_cond_proj_dim": None,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
}
_FILM = {  # how a clip's embedding that joins the time embedding is spelt
    "class_embed_type": "simple_projection",
    "class_embeddings_concat": True,
}
_NO_FILM = {"class_embed_type": None, "class_embeddings_concat": False}
_DOWN = {"DownBlock2D": False, "CrossAttnDownBlock2D": True}
_UP = {"UpBlock2D": False, "CrossAttnUpBlock2D": True}
_READ = {  # the other keys that are read, and the values of the class where a config lacks them
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "cross_attention_dim": 1280,
    "transformer_layers_per_block": 1,
    "attention_head_dim": 8,
    "projection_class_embeddings_input_dim": None,
    **_NO_FILM,
}
_WITHOUT_EFFECT = ("sample_size",)  # the length that diffusers' pipeline makes by default


def from_config(config: Mapping[str, Any]) -> UNet:
    """The network that a config.json of `diffusers.AudioLDM2UNet2DConditionModel` describes.

    `attention_head_dim` there is the number of heads, at all levels or by level; counts by level
    that come to one width are that `head_dim`.

    Raises:
        ConversionError: a key that is not known, or a variant that is not supported.
    """
    known = {*_FIELDS, *_FIXED, *_READ, *_WITHOUT_EFFECT}
    for key, value in config.items():
        if key not in known and not key.startswith("_"):
            raise ConversionError(f"{key} is {value!r}; known are {', '.join(sorted(known))}")
    for key, supported in _FIXED.items():
        if (value := config.get(key, supported)) != supported:
            raise ConversionError(f"{key} is {value!r}; supported is {supported!r}")
    config = {**_READ, **config}
    channels = tuple(config["block_out_channels"])
    down, up = (
        _attended(config, "down_block_types", _DOWN),
        _attended(config, "up_block_types", _UP),
    )
    if down != up[::-1] or len(down) != len(channels):
        raise ConversionError(
            f"down_block_types is {config['down_block_types']!r} and up_block_types is"
            f" {config['up_block_types']!r}; supported are mirror images, with a block for"
            f" each of block_out_channels {list(channels)!r}"
        )
    slots = _same_at_all_levels(config, "cross_attention_dim", len(channels))
    slots = (slots,) if isinstance(slots, int) else tuple(slots)
    _check_routes(slots)
    module = UNet(
        **{field: config.get(key, default) for key, (field, default) in _FIELDS.items()},
        block_out_channels=channels,
        attention_levels=down,
        layers_per_block=_same_at_all_levels(config, "layers_per_block", len(channels)),
        cross_attention_dims=slots,
        transformer_depth=_same_at_all_levels(
            config, "transformer_layers_per_block", len(channels)
        ),
        film_dim=_film_dim(config),
        **_heads(config["attention_head_dim"], channels, down),
    )
    return _with_whole_heads(module, "attention_head_dim", config["attention_head_dim"])


def to_config(module: UNet) -> dict[str, Any]:
    """The config.json of `diffusers.AudioLDM2UNet2DConditionModel`.

    Raises:
        ConversionError: contexts that go to other slots than that class sends them to, or a guidance scale as an input,
            which it does not have.
    """
    _check_routes(module.cross_attention_dims)
    if module.guidance_features is not None:
        raise ConversionError(
            "this UNet takes the guidance scale as an input, and diffusers' AudioLDM2 UNet has none: a distilled model "
            "can only be kept in a folder of ours"
        )
    levels, attended = len(module.block_out_channels), module.attention_levels
    down, up = ({on: name for name, on in names.items()} for names in (_DOWN, _UP))
    heads: Any = module.heads
    if module.head_dim is not None:  # a level without attention has to name a number, too
        heads = [max(1, channels // module.head_dim) for channels in module.block_out_channels]
    film = {} if module.film_dim is None else _FILM
    return {
        "_class_name": "AudioLDM2UNet2DConditionModel",
        **{key: getattr(module, field) for key, (field, _) in _FIELDS.items()},
        **_FIXED,
        **_READ,
        **film,
        "sample_size": 256,  # of the published models: 10.24 s; 262 in those of speech
        "down_block_types": [down[on] for on in attended],
        "up_block_types": [up[on] for on in reversed(attended)],
        "block_out_channels": list(module.block_out_channels),
        "layers_per_block": module.layers_per_block,
        "cross_attention_dim": [list(module.cross_attention_dims)] * levels,
        "transformer_layers_per_block": module.transformer_depth,
        "attention_head_dim": heads,
        "projection_class_embeddings_input_dim": module.film_dim,
    }


def _attended(config: Mapping[str, Any], key: str, known: Mapping[str, bool]) -> tuple[bool, ...]:
    if unknown := [name for name in config[key] if name not in known]:
        raise ConversionError(f"{key} has {unknown[0]!r}; supported are {', '.join(known)}")
    return tuple(known[name] for name in config[key])


def _same_at_all_levels(config: Mapping[str, Any], key: str, levels: int) -> Any:
    value = config[key]
    if not isinstance(value, list | tuple):
        return value
    if len(value) != levels or any(item != value[0] for item in value):
        raise ConversionError(f"{key} is {value!r}; supported is one value for all {levels} levels")
    return value[0]


def _check_routes(slots: Sequence[int | None]) -> None:
    """Diffusers gives its first context to slots 0 and 1, its second to those after."""
    for part in (slots[:2], slots[2:]):
        if sum(width is not None for width in part) > 1:
            raise ConversionError(
                f"cross_attention_dim is {list(slots)!r}, where diffusers would give one context to"
                " two slots; supported is one width in the first two slots and one after them"
            )


def _film_dim(config: Mapping[str, Any]) -> int | None:
    spelt = {key: config[key] for key in _FILM}
    if spelt == _FILM and config["projection_class_embeddings_input_dim"]:
        return config["projection_class_embeddings_input_dim"]
    if spelt != _NO_FILM:
        raise ConversionError(
            f"class_embed_type is {spelt['class_embed_type']!r} with class_embeddings_concat"
            f" {spelt['class_embeddings_concat']!r} and projection_class_embeddings_input_dim"
            f" {config['projection_class_embeddings_input_dim']!r}; supported are None with False,"
            " and 'simple_projection' with True and a width"
        )
    return None


def _heads(
    given: int | Sequence[int], channels: Sequence[int], attended: Sequence[bool]
) -> dict[str, Any]:
    if isinstance(given, int):
        return {"heads": given, "head_dim": None}
    if len(given) == len(channels):
        used = [i for i, on in enumerate(attended) if on or i == len(channels) - 1]
        if len({given[i] for i in used}) == 1:
            return {"heads": given[used[0]], "head_dim": None}
        widths = {channels[i] / given[i] for i in used}
        if len(widths) == 1 and (width := widths.pop()).is_integer():
            return {"heads": None, "head_dim": int(width)}
    raise ConversionError(
        f"attention_head_dim is {list(given)!r} for block_out_channels {list(channels)!r};"
        " supported are one number of heads at all levels, and one width of heads"
    )


def _with_whole_heads(module: UNet, key: str, value: Any) -> UNet:
    levels = len(module.block_out_channels)
    try:
        for level in range(levels):
            if module.attention_levels[level] or level == levels - 1:
                module.heads_at(level)
    except ValueError as error:
        raise ConversionError(f"{key} is {value!r}, and {error}") from None
    return module


_PARAMS_FIXED = {
    "dims": 2,
    "dropout": 0,
    "conv_resample": True,
    "use_spatial_transformer": True,
    "extra_sa_layer": True,
    "legacy": True,
    "num_classes": None,
    "n_embed": None,
    "use_scale_shift_norm": False,
    "resblock_updown": False,
}
_BASE = {
    "in_channels": 8,
    "out_channels": 8,
    "model_channels": 128,
    "attention_resolutions": [8, 4, 2],
    "num_res_blocks": 2,
    "channel_mult": [1, 2, 3, 5],
    "num_head_channels": 32,
    "transformer_depth": 1,
    "context_dim": [768, 1024],
}
_SPEECH = {**_BASE, "context_dim": [768]}
OFFICIAL_CONFIGS = {  # `unet_config.params` of the official code, by name of the checkpoint
    "audioldm2-full": _BASE,
    "audioldm2-music-665k": _BASE,
    "audioldm2-full-large-1150k": {
        **_BASE,
        "context_dim": [768, 1024, None],
        "transformer_depth": 2,
    },
    "audioldm2-speech-gigaspeech": _SPEECH,
    "audioldm2-speech-ljspeech": _SPEECH,
    "audioldm_16k_crossattn_t5": {**_BASE, "context_dim": [1024]},
    "audioldm_48k": {
        **_BASE,
        "in_channels": 16,
        "out_channels": 16,
        "context_dim": [None],
        "extra_film_condition_dim": 512,
    },
}


def from_official(params: Mapping[str, Any]) -> UNet:
    """The network that `unet_config.params` in an official configuration describes.

    Its layers have a slot of self-attention before those that `context_dim` lists.

    Raises:
        ConversionError: a variant that is not supported.
    """
    for key, supported in _PARAMS_FIXED.items():
        if (value := params.get(key, supported)) != supported:
            raise ConversionError(f"{key} is {value!r}; supported is {supported!r}")
    dims = params.get("context_dim")
    dims = list(dims) if isinstance(dims, list | tuple) else [dims]
    if None in dims and any(dims[dims.index(None) :]):
        raise ConversionError(f"context_dim is {dims!r}; supported are widths, then nulls")
    heads, head_dim = params.get("num_heads", -1), params.get("num_head_channels", -1)
    mult = params.get("channel_mult", (1, 2, 4, 8))
    module = UNet(
        in_channels=params["in_channels"],
        out_channels=params["out_channels"],
        block_out_channels=tuple(params["model_channels"] * x for x in mult),
        attention_levels=tuple(
            2**level in params["attention_resolutions"] for level in range(len(mult))
        ),
        layers_per_block=params["num_res_blocks"],
        cross_attention_dims=(None, *dims),
        transformer_depth=params.get("transformer_depth", 1),
        heads=None if heads == -1 or head_dim != -1 else heads,
        head_dim=None if head_dim == -1 else head_dim,
        film_dim=params.get("extra_film_condition_dim"),
    )
    return _with_whole_heads(module, "num_head_channels", head_dim)
