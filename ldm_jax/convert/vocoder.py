"""Published HiFi-GAN weights: `transformers`' SpeechT5HifiGan, and the official generators.

Official names stand behind "first_stage_model.vocoder." in a whole checkpoint (the caller strips
that), and under "generator" in a vocoder's own, such as `hifigan_16k_64bins.ckpt`.
`official_tensors` completes them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ldm_jax.convert.rules import (
    CONV1D,
    CONV_TRANSPOSE1D,
    ConversionError,
    Rule,
    Table,
    Transform,
)
from ldm_jax.models.vocoder import HiFiGAN

_WEIGHT_NORMS = (  # names of g and v, by PyTorch's old function and its new parametrisation
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)


def _fold(layout: Transform) -> Transform:
    """Weight norm, g v / |v| with |.| over all axes but the first, then `layout`; one way only."""

    def forward(g: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, ...]:
        wide = v.astype(np.float64)
        norm = np.sqrt(np.square(wide).sum(axis=tuple(range(1, v.ndim)), keepdims=True))
        return layout.forward((g * (wide / norm)).astype(v.dtype))

    return Transform(forward=forward, backward=None)


def _layer(source: str, path: str, layout: Transform = CONV1D) -> tuple[Rule, ...]:
    return (
        Rule(f"{source}.weight", f"{path}/kernel", layout),
        *(
            Rule((f"{source}.{g}", f"{source}.{v}"), f"{path}/kernel", _fold(layout))
            for g, v in _WEIGHT_NORMS
        ),
        Rule(f"{source}.bias", f"{path}/bias"),
    )


def _table(upsampler: str) -> Table:
    return Table(
        rules=(
            Rule("mean", "mean"),
            Rule("scale", "scale"),
            *_layer("conv_pre", "conv_pre"),
            *_layer(f"{upsampler}.{{i}}", "upsampler_{i}", CONV_TRANSPOSE1D),
            *_layer("resblocks.{i}.convs{n}.{j}", "resblocks_{i}/convs{n}_{j}"),
            *_layer("conv_post", "conv_post"),
        )
    )


TRANSFORMERS = _table("upsampler")
OFFICIAL = _table("ups")


def official_tensors(tensors: Mapping[str, Any], *, mel_channels: int) -> dict[str, Any]:
    """`tensors` as `OFFICIAL` names them.

    The mark of `torch.compile` goes, and what only transformers' class has comes in: a `mean` of 0
    and a `scale` of 1.
    """
    unit = {"mean": np.zeros(mel_channels, np.float32), "scale": np.ones(mel_channels, np.float32)}
    return unit | {name.replace("_orig_mod.", ""): value for name, value in tensors.items()}


_FIELDS = {  # of HiFiGAN, by key of config.json, and the value where a config lacks that key
    "model_in_dim": ("mel_channels", 80),
    "upsample_initial_channel": ("upsample_initial_channel", 512),
    "upsample_rates": ("upsample_rates", (4, 4, 4, 4)),
    "upsample_kernel_sizes": ("upsample_kernel_sizes", (8, 8, 8, 8)),
    "resblock_kernel_sizes": ("resblock_kernel_sizes", (3, 7, 11)),
    "resblock_dilation_sizes": ("resblock_dilation_sizes", ((1, 3, 5),) * 3),
    "leaky_relu_slope": ("leaky_relu_slope", 0.1),
    "normalize_before": ("normalize_before", True),
}
_WITHOUT_EFFECT = (
    *("architectures", "dtype", "initializer_range", "sampling_rate", "torch_dtype"),
    "transformers_version",
)


def from_config(config: Mapping[str, Any]) -> HiFiGAN:
    """The network that a config.json of `transformers.SpeechT5HifiGan` describes.

    Raises:
        ConversionError: another type of model, a key that is not known, or lists that do not fit.
    """
    known = {*_FIELDS, *_WITHOUT_EFFECT, "model_type"}
    for key, value in config.items():
        if key not in known and not key.startswith("_"):
            raise ConversionError(f"{key} is {value!r}; known are {', '.join(sorted(known))}")
    if (value := config.get("model_type", "hifigan")) != "hifigan":
        raise ConversionError(f"model_type is {value!r}; supported is 'hifigan'")
    values = {key: config.get(key, default) for key, (_, default) in _FIELDS.items()}
    return _network(values, exact_length=False)


def to_config(module: HiFiGAN) -> dict[str, Any]:
    """The config.json of `transformers.SpeechT5HifiGan`, but for `sampling_rate`.

    That key changes nothing in the network, which does not know it.

    Raises:
        ConversionError: a generator of exact length, which that class is not.
    """
    if module.exact_length:
        raise ConversionError("exact_length is True; transformers' SpeechT5HifiGan can have False")
    values = {key: _listed(getattr(module, field)) for key, (field, _) in _FIELDS.items()}
    return {"architectures": ["SpeechT5HifiGan"], "model_type": "hifigan", **values}


OFFICIAL_CONFIGS = {  # of the official generators, by sample rate in Hz
    16_000: {
        "resblock": "1",
        "num_mels": 64,
        "upsample_rates": [5, 4, 2, 2, 2],
        "upsample_kernel_sizes": [16, 16, 8, 4, 4],
        "upsample_initial_channel": 1024,
        "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": [[1, 3, 5]] * 3,
    },
    48_000: {
        "resblock": "1",
        "num_mels": 256,
        "upsample_rates": [6, 5, 4, 2, 2],
        "upsample_kernel_sizes": [12, 10, 8, 4, 4],
        "upsample_initial_channel": 1536,
        "resblock_kernel_sizes": [3, 7, 11, 15],
        "resblock_dilation_sizes": [[1, 3, 5]] * 4,
    },
}


def from_official(config: Mapping[str, Any], *, exact_length: bool = False) -> HiFiGAN:
    """The network that an official configuration describes; its keys for training are passed over.

    Args:
        config: such as `hifigan_16k_64bins.json`, or one of `OFFICIAL_CONFIGS`.
        exact_length: False is `Generator`, which the released inference code builds at both sample
            rates; True is `Generator_HiFiRes`, which the training code builds at 48 kHz.

    Raises:
        ConversionError: a variant that is not supported.
    """
    if (value := config.get("resblock", "1")) != "1":
        raise ConversionError(f"resblock is {value!r}; supported is '1'")
    values = {key: config[key] for key in _FIELDS if key in config}
    values |= {"model_in_dim": config["num_mels"], "leaky_relu_slope": 0.1}
    values |= {"normalize_before": False}
    if exact_length:  # that class goes by the rates alone
        values["upsample_kernel_sizes"] = [2 * rate for rate in config["upsample_rates"]]
    return _network(values, exact_length=exact_length)


def _network(values: Mapping[str, Any], *, exact_length: bool) -> HiFiGAN:
    lists = ("upsample_rates", "upsample_kernel_sizes")
    lists += ("resblock_kernel_sizes", "resblock_dilation_sizes")
    for first, second in (lists[:2], lists[2:]):
        if len(values[first]) != len(values[second]):
            raise ConversionError(
                f"{second} is {values[second]!r}; as many as {first} {values[first]!r} are needed"
            )
    for rate, taps in zip(*(values[key] for key in lists[:2]), strict=True):
        if taps < rate:
            raise ConversionError(
                f"upsample_kernel_sizes has {taps}; its rate {rate} or more is supported"
            )
    for taps in values["resblock_kernel_sizes"]:
        if taps % 2 == 0:
            raise ConversionError(f"resblock_kernel_sizes has {taps}; odd numbers are supported")
    fields = {field: _tupled(values[key]) for key, (field, _) in _FIELDS.items()}
    return HiFiGAN(**fields, exact_length=exact_length)


def _tupled(value: Any) -> Any:
    return tuple(_tupled(x) for x in value) if isinstance(value, list | tuple) else value


def _listed(value: Any) -> Any:
    return [_listed(x) for x in value] if isinstance(value, tuple) else value
