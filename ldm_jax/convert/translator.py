"""The translator's front: diffusers' AudioLDM2ProjectionModel, and the official layout."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ldm_jax.convert.rules import LINEAR, ConversionError, Rule, Table, Transform, permutation
from ldm_jax.models.translator import Translator

_POSITIONS = permutation(0, 2, 1)  # (1, dim, length) -> (1, length, dim)
_OFFICIAL_ROWS = 32  # of the official token tables, for as many streams

DIFFUSERS = Table(
    rules=(
        *(Rule(f"{x}_embed", f"{x}_embed") for x in ("sos", "eos")),
        *(Rule(f"{x}_embed_{{i}}", f"{x}_embed_{{i}}") for x in ("sos", "eos")),
        Rule("projection.weight", "projection/kernel", LINEAR),
        Rule("projection.bias", "projection/bias"),
        Rule("projection_{i}.weight", "projection_{i}/kernel", LINEAR),
        Rule("projection_{i}.bias", "projection_{i}/bias"),
        Rule("learnable_positional_embedding", "learnable_positional_embedding", _POSITIONS),
    )
)


def official(n_streams: int) -> Table:
    """The names below "cond_stage_models.0." for a translator of `n_streams` streams.

    Row i of the two token tables belongs to stream i; the other rows are never read, and come back
    as zeros. The learned positions of speech lie in the phoneme encoder, and are taken from there
    ("cond_stage_models.1.learnable_positional_embedding") or under their bare name.
    """

    def rows(tensor: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(tensor[i] for i in range(n_streams))

    def table(*parts: np.ndarray) -> tuple[np.ndarray]:
        tensor = np.zeros((_OFFICIAL_ROWS, *parts[0].shape), parts[0].dtype)
        tensor[:n_streams] = parts
        return (tensor,)

    suffixes = ["", *(f"_{i}" for i in range(1, n_streams))]
    linear = "input_sequence_embed_linear"
    positions = "learnable_positional_embedding"
    return Table(
        rules=(
            *(
                Rule(
                    f"{published}_of_sequence_tokens.weight",
                    tuple(f"{name}_embed{suffix}" for suffix in suffixes),
                    Transform(forward=rows, backward=table),
                )
                for published, name in (("start", "sos"), ("end", "eos"))
            ),
            *(
                Rule(f"{linear}.{i}.weight", f"projection{suffix}/kernel", LINEAR)
                for i, suffix in enumerate(suffixes)
            ),
            *(
                Rule(f"{linear}.{i}.bias", f"projection{suffix}/bias")
                for i, suffix in enumerate(suffixes)
            ),
            Rule(f"cond_stage_models.1.{positions}", positions, _POSITIONS),
        ),
        aliases=((positions, f"cond_stage_models.1.{positions}"),),
    )


OFFICIAL = official(2)


def from_config(config: Mapping[str, Any]) -> Translator:
    """The front that a config.json of `AudioLDM2ProjectionModel` describes.

    Raises:
        ConversionError: a key is missing, or learned positions without their length.
    """
    # The published key is misspelt.
    keys = ("text_encoder_dim", "text_encoder_1_dim", "langauge_model_dim")
    if missing := [key for key in keys if config.get(key) is None]:
        raise ConversionError(f"{', '.join(missing)} missing from the projection model's config")
    learned = config.get("use_learned_position_embedding") is not None  # as diffusers reads it
    length = config.get("max_seq_length")
    if learned and length is None:
        raise ConversionError("max_seq_length is None; learned positions need it")
    first, second, d_model = (config[key] for key in keys)
    return Translator((first, second), d_model, max_seq_length=length if learned else None)


def to_config(module: Translator) -> dict[str, Any]:
    """The config.json of `AudioLDM2ProjectionModel`.

    Raises:
        ConversionError: not two streams, which is all that diffusers has.
    """
    if len(module.stream_dims) != 2:
        raise ConversionError(f"stream_dims is {module.stream_dims}; diffusers has two streams")
    return {
        "_class_name": "AudioLDM2ProjectionModel",
        "text_encoder_dim": module.stream_dims[0],
        "text_encoder_1_dim": module.stream_dims[1],
        "langauge_model_dim": module.d_model,
        "use_learned_position_embedding": None if module.max_seq_length is None else True,
        "max_seq_length": module.max_seq_length,
    }
