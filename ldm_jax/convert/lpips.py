"""Published LPIPS: taming-transformers' and its authors' names, VGG16 also in torchvision's.

Names stand bare, or behind "loss.perceptual_loss." in a checkpoint of the VAE's trainer, if that kept them. The authors
publish the `lin` weights alone (`vgg.pth`): in one file with torchvision's `vgg16` they are complete. What else is in a
file is left.
"""

from collections.abc import Mapping
from typing import Any

from ldm_jax.convert.rules import CONV2D, ConversionError, Rule, Table, Transform
from ldm_jax.models.lpips import DEPTHS, LPIPS, feature_indices

_WITHIN = ("loss.perceptual_loss.", "first_stage_model.loss.perceptual_loss.")
_LIN = Transform(  # a 1x1 convolution to one channel
    forward=lambda x: (x.reshape(-1),), backward=lambda x: (x.reshape(1, -1, 1, 1),)
)


def _table() -> Table:
    levels = [level for level, depth in enumerate(DEPTHS) for _ in range(depth)]
    rules = [Rule(f"lin{i}.model.1.weight", f"lin_{i}", _LIN) for i in range(len(DEPTHS))]
    aliases = [(f"{prefix}{{name:any}}", "{name}") for prefix in _WITHIN]
    for index, level in zip(feature_indices(), levels, strict=True):
        source, path = f"net.slice{level + 1}.{index}", f"features_{index}"
        rules.append(Rule(f"{source}.weight", f"{path}/kernel", CONV2D))
        rules.append(Rule(f"{source}.bias", f"{path}/bias"))
        aliases.append((f"features.{index}.{{kind:word}}", f"{source}.{{kind}}"))
    return Table(rules=rules, ignored=("{rest:any}",), aliases=aliases)


TABLE = _table()


def network_of(tensors: Mapping[str, Any]) -> LPIPS:
    """The network that a file's shapes describe.

    Raises:
        ConversionError: not the weights of LPIPS.
    """
    for prefix in ("", *_WITHIN):
        names = [f"{prefix}lin{level}.model.1.weight" for level in range(len(DEPTHS))]
        if all(name in tensors for name in names):
            return LPIPS(widths=tuple(int(tensors[name].shape[1]) for name in names))
    raise ConversionError("these are not the weights of LPIPS: no lin0.model.1.weight")
