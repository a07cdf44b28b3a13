"""T5 encoders: `transformers`' config.json and names.

The same names hold in the official AudioLDM 2 checkpoints, behind "cond_stage_models.1.model." and
"cond_stage_models.0.cond_stage_models.1.model.", and in full T5 checkpoints, whose decoder is left.
"""

from collections.abc import Mapping
from typing import Any

from ldm_jax.convert.rules import LINEAR, ConversionError, Rule, Table
from ldm_jax.models.t5 import ACTIVATIONS, T5Encoder

_BLOCK, _PATH = "encoder.block.{i}.layer", "encoder/block_{i}"
_ATTENTION, _MLP = f"{_BLOCK}.0.SelfAttention", f"{_BLOCK}.1.DenseReluDense"

TRANSFORMERS = Table(
    rules=(
        Rule("shared.weight", "shared/embedding"),
        Rule(
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
            "encoder/relative_attention_bias/embedding",
        ),
        *(
            Rule(f"{_ATTENTION}.{x}.weight", f"{_PATH}/layer_0/SelfAttention/{x}/kernel", LINEAR)
            for x in "qkvo"
        ),
        *(
            Rule(f"{_MLP}.{x}.weight", f"{_PATH}/layer_1/DenseReluDense/{x}/kernel", LINEAR)
            for x in ("wi", "wi_0", "wi_1", "wo")
        ),
        Rule(f"{_BLOCK}.{{j}}.layer_norm.weight", f"{_PATH}/layer_{{j}}/layer_norm/scale"),
        Rule("encoder.final_layer_norm.weight", "encoder/final_layer_norm/scale"),
    ),
    ignored=("decoder.{rest:any}", "lm_head.weight"),
    aliases=(("encoder.embed_tokens.weight", "shared.weight"),),
)

_FIELDS = {  # of T5Encoder, by key of config.json, and the value where a config lacks that key
    "vocab_size": ("vocab_size", 32128),
    "d_model": ("d_model", 512),
    "d_kv": ("d_kv", 64),
    "d_ff": ("d_ff", 2048),
    "num_layers": ("num_layers", 6),
    "num_heads": ("num_heads", 8),
    "relative_attention_num_buckets": ("num_buckets", 32),
    "relative_attention_max_distance": ("max_distance", 128),
    "feed_forward_proj": ("feed_forward", "relu"),
    "layer_norm_epsilon": ("epsilon", 1e-6),
}


def from_config(config: Mapping[str, Any]) -> T5Encoder:
    """The encoder that a config.json of `T5EncoderModel` or of a whole T5 describes.

    Raises:
        ConversionError: another type of model, or a feed-forward layer that is not supported.
    """
    if config.get("model_type", "t5") != "t5":
        raise ConversionError(f"model_type is {config['model_type']!r}; supported is 't5'")
    fields = {field: config.get(key, default) for key, (field, default) in _FIELDS.items()}
    if fields["feed_forward"] not in ACTIVATIONS:
        raise ConversionError(
            f"feed_forward_proj is {fields['feed_forward']!r}; supported are {sorted(ACTIVATIONS)}"
        )
    return T5Encoder(**fields)


def to_config(module: T5Encoder) -> dict[str, Any]:
    """The config.json of `transformers.T5EncoderModel`."""
    return {
        "architectures": ["T5EncoderModel"],
        "model_type": "t5",
        "is_encoder_decoder": True,
        "tie_word_embeddings": False,
        "pad_token_id": 0,
        "eos_token_id": 1,
        **{key: getattr(module, field) for key, (field, _) in _FIELDS.items()},
    }
