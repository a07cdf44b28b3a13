"""GPT-2: `transformers`' config.json and names, which official AudioLDM 2 checkpoints keep too.

There they stand behind "cond_stage_models.0.model.".
"""

from collections.abc import Mapping
from typing import Any

from ldm_jax.convert.rules import ConversionError, Rule, Table
from ldm_jax.models.gpt2 import GPT2

_LAYERS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
_NORMS = ("ln_1", "ln_2")

TRANSFORMERS = Table(
    rules=(
        Rule("wte.weight", "wte/embedding"),
        Rule("wpe.weight", "wpe/embedding"),
        # Conv1D, as `transformers` calls its dense layer here, stores (in, out): nothing to turn.
        *(Rule(f"h.{{i}}.{x}.weight", f"h_{{i}}/{x.replace('.', '/')}/kernel") for x in _LAYERS),
        *(Rule(f"h.{{i}}.{x}.bias", f"h_{{i}}/{x.replace('.', '/')}/bias") for x in _LAYERS),
        *(Rule(f"h.{{i}}.{x}.weight", f"h_{{i}}/{x}/scale") for x in _NORMS),
        *(Rule(f"h.{{i}}.{x}.bias", f"h_{{i}}/{x}/bias") for x in _NORMS),
        Rule("ln_f.weight", "ln_f/scale"),
        Rule("ln_f.bias", "ln_f/bias"),
    ),
    # Causal masks that old versions saved, and the token head of GPT2LMHeadModel.
    ignored=("h.{i}.attn.bias", "h.{i}.attn.masked_bias", "lm_head.weight"),
    aliases=(("transformer.{rest:any}", "{rest:any}"),),
)

_FIELDS = {  # of GPT2, by key of config.json, and its value where a config lacks that key
    "vocab_size": ("vocab_size", 50257),
    "n_positions": ("n_positions", 1024),
    "n_embd": ("n_embd", 768),
    "n_layer": ("n_layer", 12),
    "n_head": ("n_head", 12),
    "n_inner": ("n_inner", None),
    "layer_norm_epsilon": ("epsilon", 1e-5),
}
_DROPOUTS = ("embd_pdrop", "attn_pdrop", "resid_pdrop")
_FIXED = {
    "model_type": "gpt2",
    "activation_function": "gelu_new",
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,
    "add_cross_attention": False,
}


def from_config(config: Mapping[str, Any]) -> GPT2:
    """The network that a config.json of `GPT2Model` describes; `max_new_tokens` is no part of it.

    Raises:
        ConversionError: a variant of GPT-2 that is not supported.
    """
    for key, supported in _FIXED.items():
        if (value := config.get(key, supported)) != supported:
            raise ConversionError(f"{key} is {value!r}; supported is {supported!r}")
    rates = {key: config.get(key, 0.1) for key in _DROPOUTS}
    if len(set(rates.values())) > 1:
        raise ConversionError(f"the dropout rates {rates} differ; supported is one rate for all")
    fields = {field: config.get(key, default) for key, (field, default) in _FIELDS.items()}
    return GPT2(**fields, dropout=rates["resid_pdrop"])


def to_config(module: GPT2, *, max_new_tokens: int = 8) -> dict[str, Any]:
    """The config.json of `transformers.GPT2Model`, with the key that AudioLDM 2's pipeline adds.

    Args:
        module: the network.
        max_new_tokens: how many LOA tokens diffusers generates by default; 512 for speech.
    """
    return {
        "architectures": ["GPT2Model"],
        **_FIXED,
        **{key: getattr(module, field) for key, (field, _) in _FIELDS.items()},
        **dict.fromkeys(_DROPOUTS, module.dropout),
        "max_new_tokens": max_new_tokens,
    }
