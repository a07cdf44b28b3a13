"""The UNet's weights under their two published namings, diffusers' and the official one.

The two name transformers alike and everything else differently; the official names depend on how
many slots a layer has, so their table is made for a network. Official weights lie under
`model.diffusion_model.`, which is to be stripped, and again under `model_ema.`, which is not used.
"""

from collections.abc import Sequence

from ldm_jax.convert.rules import (
    CONV2D,
    LINEAR,
    POINTWISE_AS_LINEAR,
    Rule,
    Table,
    Transform,
)
from ldm_jax.models.unet import UNet


def _layer(source: str, path: str, transform: Transform) -> list[Rule]:
    return [
        Rule(f"{source}.weight", f"{path}/kernel", transform),
        Rule(f"{source}.bias", f"{path}/bias"),
    ]


def _norm(source: str, path: str) -> list[Rule]:
    return [Rule(f"{source}.weight", f"{path}/scale"), Rule(f"{source}.bias", f"{path}/bias")]


def _under(source: str, path: str, rules: Sequence[Rule]) -> list[Rule]:
    return [Rule(f"{source}.{r.source}", f"{path}/{r.path}", r.transform) for r in rules]


_BLOCK, _BLOCK_PATH = "transformer_blocks.{b}", "transformer_blocks_{b}"
_TRANSFORMER = [
    *_layer(f"{_BLOCK}.attn{{a}}.to_out.0", f"{_BLOCK_PATH}/attn{{a}}/to_out_0", LINEAR),
    Rule(
        f"{_BLOCK}.attn{{a}}.to_{{p:word}}.weight",
        f"{_BLOCK_PATH}/attn{{a}}/to_{{p:word}}/kernel",
        LINEAR,
    ),
    *_layer(f"{_BLOCK}.ff.net.0.proj", f"{_BLOCK_PATH}/ff/net_0/proj", LINEAR),
    *_layer(f"{_BLOCK}.ff.net.2", f"{_BLOCK_PATH}/ff/net_2", LINEAR),
    *_norm(f"{_BLOCK}.norm{{k}}", f"{_BLOCK_PATH}/norm{{k}}"),
    *_norm("norm", "norm"),
    *_layer("proj_{way:word}", "proj_{way:word}", POINTWISE_AS_LINEAR),
]
_RESNET = [
    *_norm("norm{k}", "norm{k}"),
    *_layer("conv{k}", "conv{k}", CONV2D),
    *_layer("time_emb_proj", "time_emb_proj", LINEAR),
    *_layer("conv_shortcut", "conv_shortcut", POINTWISE_AS_LINEAR),
]
_OFFICIAL_RESNET = [
    *_norm("in_layers.0", "norm1"),
    *_layer("in_layers.2", "conv1", CONV2D),
    *_layer("emb_layers.1", "time_emb_proj", LINEAR),
    *_norm("out_layers.0", "norm2"),
    *_layer("out_layers.3", "conv2", CONV2D),
    *_layer("skip_connection", "conv_shortcut", POINTWISE_AS_LINEAR),
]
_STAGES = (
    ("down_blocks.{i}", "down_blocks_{i}"),
    ("mid_block", "mid_block"),
    ("up_blocks.{i}", "up_blocks_{i}"),
)

DIFFUSERS = Table(
    rules=[
        *_layer("conv_in", "conv_in", CONV2D),
        *_layer("time_embedding.linear_{k}", "time_embedding/linear_{k}", LINEAR),
        *_layer("class_embedding", "class_embedding", LINEAR),
        *(
            rule
            for stage, path in _STAGES
            for rule in (
                *_under(f"{stage}.resnets.{{j}}", f"{path}/resnets_{{j}}", _RESNET),
                *_under(f"{stage}.attentions.{{j}}", f"{path}/attentions_{{j}}", _TRANSFORMER),
                *_layer(
                    f"{stage}.{{way:word}}samplers.0.conv",
                    f"{path}/{{way:word}}samplers_0/conv",
                    CONV2D,
                ),
            )
        ),
        *_norm("conv_norm_out", "conv_norm_out"),
        *_layer("conv_out", "conv_out", CONV2D),
    ]
)


def official_table(module: UNet) -> Table:
    """The names in official checkpoints, of the network `module`.

    There a list of blocks runs through all levels, and in a block stand the residual block, the
    transformer of each slot and the upsampling, if any.
    """
    levels, layers = len(module.block_out_channels), module.layers_per_block
    slots = [len(module.cross_attention_dims) if on else 0 for on in module.attention_levels]
    rules = [
        *_layer("input_blocks.0.0", "conv_in", CONV2D),
        *_layer("time_embed.0", "time_embedding/linear_1", LINEAR),
        *_layer("time_embed.2", "time_embedding/linear_2", LINEAR),
        *_layer("film_emb", "class_embedding", LINEAR),
        *_norm("out.0", "conv_norm_out"),
        *_layer("out.2", "conv_out", CONV2D),
    ]
    block = 1
    for level in range(levels):
        path = f"down_blocks_{level}"
        for layer in range(layers):
            rules += _official_layer(f"input_blocks.{block}", path, layer, slots[level])
            block += 1
        if level < levels - 1:
            rules += _layer(f"input_blocks.{block}.0.op", f"{path}/downsamplers_0/conv", CONV2D)
            block += 1
    middle = len(module.cross_attention_dims)
    rules += _official_layer("middle_block", "mid_block", 0, middle)
    rules += _under(f"middle_block.{middle + 1}", "mid_block/resnets_1", _OFFICIAL_RESNET)
    block = 0
    for index, level in enumerate(reversed(range(levels))):
        path = f"up_blocks_{index}"
        for layer in range(layers + 1):
            rules += _official_layer(f"output_blocks.{block}", path, layer, slots[level])
            if level > 0 and layer == layers:
                source = f"output_blocks.{block}.{slots[level] + 1}.conv"
                rules += _layer(source, f"{path}/upsamplers_0/conv", CONV2D)
            block += 1
    return Table(rules=rules)


def _official_layer(source: str, path: str, layer: int, slots: int) -> list[Rule]:
    rules = _under(f"{source}.0", f"{path}/resnets_{layer}", _OFFICIAL_RESNET)
    for slot in range(slots):
        transformer = f"{path}/attentions_{layer * slots + slot}"
        rules += _under(f"{source}.{slot + 1}", transformer, _TRANSFORMER)
    return rules
