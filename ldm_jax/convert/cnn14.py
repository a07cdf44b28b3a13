"""Published Cnn14 weights: `Cnn14_mAP=0.431.pth` for 32 kHz, `Cnn14_16k_mAP=0.438.pth`, `Cnn14_8k_mAP=0.416.pth`.

Each holds its state under "model", and in it the Fourier matrices and the mel filters of its front end. These
tell the files apart, and are not needed: `ldm_jax.audio.panns_features` computes the same.
"""

from collections.abc import Mapping

import numpy as np

from ldm_jax.audio.panns_features import PANNS
from ldm_jax.convert.rules import CONV2D, LINEAR, ConversionError, Rule, Table
from ldm_jax.models.cnn14 import Cnn14

_FILTERS = "logmel_extractor.melW"


def _norm(source: str, path: str) -> tuple[Rule, ...]:
    names = {"weight": "scale", **{x: x for x in ("bias", "running_mean", "running_var")}}
    return tuple(Rule(f"{source}.{theirs}", f"{path}/{ours}") for theirs, ours in names.items())


def _dense(name: str) -> tuple[Rule, ...]:
    return Rule(f"{name}.weight", f"{name}/kernel", LINEAR), Rule(f"{name}.bias", f"{name}/bias")


OFFICIAL = Table(
    rules=(
        *_norm("bn0", "bn0"),
        Rule("conv_block{i}.conv{j}.weight", "conv_block{i}/conv{j}/kernel", CONV2D),
        *_norm("conv_block{i}.bn{j}", "conv_block{i}/bn{j}"),
        *_dense("fc1"),
        *_dense("fc_audioset"),
    ),
    ignored=(
        "spectrogram_extractor.{rest:any}",
        "logmel_extractor.{rest:any}",
        "{module:any}.num_batches_tracked",
    ),
    aliases=(("module.{name:any}", "{name}"),),  # saved from within DataParallel
)


def network_of(tensors: Mapping[str, np.ndarray]) -> Cnn14:
    """The network that a file holds, told by its shapes.

    Raises:
        ConversionError: none of this kind.
    """
    shapes = {name.removeprefix("module."): tuple(tensors[name].shape) for name in tensors}
    features, name = [], "conv_block1.conv1.weight"
    while name in shapes:
        features.append(shapes[name][0])
        name = f"conv_block{len(features) + 1}.conv1.weight"
    for needed in ("conv_block1.conv1.weight", "bn0.weight", "fc_audioset.weight"):
        if needed not in shapes:
            raise ConversionError(f"these are not the weights of a Cnn14: no {needed}")
    sample_rate(tensors)
    classes, bands = shapes["fc_audioset.weight"][0], shapes["bn0.weight"][0]
    return Cnn14(num_classes=classes, num_mels=bands, features=tuple(features))


def sample_rate(tensors: Mapping[str, np.ndarray]) -> int | None:
    """The rate in Hz that a file is for, told by the shape of its mel filters; None where it has none.

    Raises:
        ConversionError: filters of none of the published front ends.
    """
    name = next((x for x in (_FILTERS, f"module.{_FILTERS}") if x in tensors), None)
    if name is None:
        return None
    shape = tuple(tensors[name].shape)
    for rate, settings in PANNS.items():
        if shape == settings.bank_shape:
            return rate
    known = ", ".join(f"{x.bank_shape} ({rate} Hz)" for rate, x in PANNS.items())
    raise ConversionError(f"{name} is {shape}; the published front ends have {known}")
