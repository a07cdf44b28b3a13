"""BERT encoders: `transformers`' config.json and names."""

from collections.abc import Mapping
from typing import Any

from ldm_jax.convert.rules import IDENTITY, LINEAR, ConversionError, Rule, Table
from ldm_jax.models.bert import BERT

_LAYER, _PATH = "encoder.layer.{i}.", "encoder/layer_{i}/"
_TABLES = ("word", "position", "token_type")
_DENSE = {
    **{f"attention.self.{x}": f"attention/self/{x}" for x in ("query", "key", "value")},
    "attention.output.dense": "attention/output/dense",
    "intermediate.dense": "intermediate/dense",
    "output.dense": "output/dense",
}
_NORMS = {
    "embeddings.LayerNorm": "embeddings/LayerNorm",
    f"{_LAYER}attention.output.LayerNorm": f"{_PATH}attention/output/LayerNorm",
    f"{_LAYER}output.LayerNorm": f"{_PATH}output/LayerNorm",
}


def encoder_rules(source: str = "", path: str = "") -> tuple[Rule, ...]:
    """Embeddings and layers of a BERT, or of a RoBERTa, whose names lie behind `source`, and ours behind `path`."""
    dense = {f"{_LAYER}{name}": f"{_PATH}{place}" for name, place in _DENSE.items()}
    pairs = [
        *((f"{name}.weight", f"{place}/kernel", LINEAR) for name, place in dense.items()),
        *((f"{name}.bias", f"{place}/bias", IDENTITY) for name, place in (dense | _NORMS).items()),
        *((f"{name}.weight", f"{place}/scale", IDENTITY) for name, place in _NORMS.items()),
        *(
            (f"embeddings.{x}_embeddings.weight", f"embeddings/{x}_embeddings/embedding", IDENTITY)
            for x in _TABLES
        ),
    ]
    return tuple(Rule(f"{source}{name}", f"{path}{place}", how) for name, place, how in pairs)


TRANSFORMERS = Table(
    rules=encoder_rules(), ignored=("pooler.{rest:any}", "embeddings.position_ids")
)

_FIELDS = {  # of BERT, by key of config.json, and the value where a config lacks that key
    "vocab_size": ("vocab_size", 30_522),
    "hidden_size": ("hidden_size", 768),
    "num_hidden_layers": ("num_layers", 12),
    "num_attention_heads": ("num_heads", 12),
    "intermediate_size": ("intermediate_size", 3072),
    "max_position_embeddings": ("max_position_embeddings", 512),
    "type_vocab_size": ("type_vocab_size", 2),
    "layer_norm_eps": ("layer_norm_eps", 1e-12),
}
_ONLY = {  # keys that have to have this value, which is that of a config that lacks the key
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
}


def from_config(config: Mapping[str, Any]) -> BERT:
    """The encoder that a config.json of `BertModel` describes.

    Raises:
        ConversionError: another type of model, or a setting that is not supported.
    """
    for key, supported in _ONLY.items():
        if (value := config.get(key, supported)) != supported:
            raise ConversionError(f"{key} is {value!r}; supported is {supported!r}")
    return BERT(**{field: config.get(key, default) for key, (field, default) in _FIELDS.items()})


def to_config(module: BERT) -> dict[str, Any]:
    """The config.json of `transformers.BertModel`."""
    return {
        "architectures": ["BertModel"],
        **_ONLY,
        "pad_token_id": 0,
        **{key: getattr(module, field) for key, (field, _) in _FIELDS.items()},
    }
