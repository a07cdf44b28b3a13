"""VITS text encoders: `transformers.VitsModel`'s config.json and names, and the official layout."""

from collections.abc import Mapping
from typing import Any

from ldm_jax.convert.rules import CONV1D, LINEAR, ConversionError, Rule, Table, Transform
from ldm_jax.models.phoneme_encoder import PhonemeEncoder

_POINTWISE = Transform(  # a convolution of kernel 1 (out, in, 1) as (in, out)
    forward=lambda x: (x.reshape(x.shape[:2]).T,), backward=lambda x: (x.T[:, :, None],)
)
_PATH = "encoder/layers_{i}"


def _linear(published: str, path: str, layout: Transform) -> tuple[Rule, Rule]:
    return (
        Rule(f"{published}.weight", f"{path}/kernel", layout),
        Rule(f"{published}.bias", f"{path}/bias"),
    )


_LAYER = "text_encoder.encoder.layers.{i}"
TRANSFORMERS = Table(
    rules=(
        Rule("text_encoder.embed_tokens.weight", "embed_tokens/embedding"),
        *_linear(
            f"{_LAYER}.attention.{{x:word}}_proj", f"{_PATH}/attention/{{x:word}}_proj", LINEAR
        ),
        Rule(f"{_LAYER}.attention.emb_rel_{{x:word}}", f"{_PATH}/attention/emb_rel_{{x:word}}"),
        *_linear(f"{_LAYER}.feed_forward.conv_{{j}}", f"{_PATH}/feed_forward/conv_{{j}}", CONV1D),
        *(
            Rule(f"{_LAYER}.{norm}.{published}", f"{_PATH}/{norm}/{name}")
            for norm in ("layer_norm", "final_layer_norm")
            for published, name in (("weight", "scale"), ("bias", "bias"))
        ),
    ),
    # VITS' prior, and its networks from there to the waveform
    ignored=(
        "text_encoder.project.{rest:any}",
        "flow.{rest:any}",
        "decoder.{rest:any}",
        "duration_predictor.{rest:any}",
        "posterior_encoder.{rest:any}",
        "embed_speaker.weight",
    ),
)

_STACK = "text_encoder.encoder"
OFFICIAL = Table(  # below "cond_stage_models.0.cond_stage_models.1."
    rules=(
        Rule("text_encoder.emb.weight", "embed_tokens/embedding"),
        *(
            rule
            for published, name in (("q", "q"), ("k", "k"), ("v", "v"), ("o", "out"))
            for rule in _linear(
                f"{_STACK}.attn_layers.{{i}}.conv_{published}",
                f"{_PATH}/attention/{name}_proj",
                _POINTWISE,
            )
        ),
        *(
            Rule(f"{_STACK}.attn_layers.{{i}}.emb_rel_{x}", f"{_PATH}/attention/emb_rel_{x}")
            for x in "kv"
        ),
        *_linear(
            f"{_STACK}.ffn_layers.{{i}}.conv_{{j}}", f"{_PATH}/feed_forward/conv_{{j}}", CONV1D
        ),
        *(
            Rule(f"{_STACK}.{published}.{{i}}.{tensor}", f"{_PATH}/{norm}/{name}")
            for published, norm in (
                ("norm_layers_1", "layer_norm"),
                ("norm_layers_2", "final_layer_norm"),
            )
            for tensor, name in (("gamma", "scale"), ("beta", "bias"))
        ),
    ),
    # VITS' prior, and the positions that `convert.translator.OFFICIAL` takes
    ignored=("text_encoder.proj.{rest:any}", "learnable_positional_embedding"),
)

_FIELDS = {  # of PhonemeEncoder, by key of config.json, and the value where a config lacks that key
    "vocab_size": ("vocab_size", 38),
    "hidden_size": ("hidden_size", 192),
    "num_hidden_layers": ("num_layers", 6),
    "num_attention_heads": ("num_heads", 2),
    "ffn_dim": ("ffn_dim", 768),
    "ffn_kernel_size": ("kernel_size", 3),
    "window_size": ("window_size", 4),
    "layer_norm_eps": ("epsilon", 1e-5),
}
_FIXED = {"model_type": "vits", "hidden_act": "relu", "use_bias": True}


def from_config(config: Mapping[str, Any]) -> PhonemeEncoder:
    """The text encoder that a config.json of `VitsModel` describes.

    Raises:
        ConversionError: another type of model, or a layer that is not supported.
    """
    for key, value in _FIXED.items():
        if config.get(key, value) != value:
            raise ConversionError(f"{key} is {config[key]!r}; supported is {value!r}")
    fields = {field: config.get(key, default) for key, (field, default) in _FIELDS.items()}
    if not fields["window_size"]:
        raise ConversionError(f"window_size is {fields['window_size']!r}; it has to be 1 or more")
    if fields["hidden_size"] % fields["num_heads"]:
        raise ConversionError(
            f"num_attention_heads is {fields['num_heads']}, which does not divide hidden_size "
            f"{fields['hidden_size']}"
        )
    return PhonemeEncoder(**fields)


def to_config(module: PhonemeEncoder) -> dict[str, Any]:
    """The config.json of a `transformers.VitsModel` with this text encoder.

    The rest of a VITS is what `transformers` takes by default: AudioLDM 2 does not run it, and
    its weights are not exported.
    """
    return {
        "architectures": ["VitsModel"],
        **_FIXED,
        **{key: getattr(module, field) for key, (field, _) in _FIELDS.items()},
    }
