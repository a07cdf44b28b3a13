"""Published musicnn weights: the checkpoints of TensorFlow in the Python package `musicnn` 0.1.0."""

from collections.abc import Mapping

import numpy as np

from ldm_jax.convert.rules import ConversionError, Rule, Table, Transform
from ldm_jax.models.musicnn import Musicnn

DEFAULT = "MTT_musicnn"  # of the networks in the package, by their folders

OVER_TIME = Transform(  # (frames, in, 1, out), one column of outputs, as (frames, in, out)
    forward=lambda x: (x.reshape(x.shape[0], -1, x.shape[-1]),),
    backward=lambda x: (x[:, :, None],),
)
_FIRST_OVER_TIME = 5

TENSORFLOW = Table(
    rules=(
        *(
            Rule(f"conv2d_{i}/kernel", f"conv2d_{i}/kernel", OVER_TIME)
            for i in range(_FIRST_OVER_TIME, _FIRST_OVER_TIME + 3)
        ),
        Rule("{layer:word}/{part:word}", "{layer:word}/{part:word}"),
    ),
    ignored=(  # of the optimiser
        "{name:any}/Adam",
        "{name:any}/Adam_1",
        "beta1_power",
        "beta2_power",
    ),
)


def network_of(tensors: Mapping[str, np.ndarray]) -> Musicnn:
    """The network that a checkpoint holds, told by its shapes.

    Raises:
        ConversionError: none of this kind.
    """
    shapes = {name: tuple(tensors[name].shape) for name in tensors}
    needed = ("conv2d/kernel", "conv2d_4/kernel", "conv2d_7/kernel", "dense_1/kernel")
    if absent := [name for name in needed if name not in shapes]:
        raise ConversionError(f"these are not the weights of a musicnn: no {', '.join(absent)}")
    for name in needed:
        if len(shapes[name]) != (2 if name.startswith("dense") else 4):
            raise ConversionError(
                f"these are not the weights of a musicnn: {name} is {shapes[name]}"
            )
    hidden, tags = shapes["dense_1/kernel"]
    return Musicnn(
        timbre=shapes["conv2d/kernel"][-1],
        rhythm=shapes["conv2d_4/kernel"][-1],
        middle=shapes["conv2d_7/kernel"][-1],
        hidden=hidden,
        num_tags=tags,
    )
