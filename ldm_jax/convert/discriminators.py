"""Published discriminators: taming-transformers' PatchGAN, and those of HiFi-GAN.

A PatchGAN's names stand bare, or behind "loss.discriminator." in a checkpoint of the VAE's trainer. HiFi-GAN's training
checkpoints (`do_00000000`) hold `mpd` and `msd`. Files hold more than that, which is left.
"""

from collections.abc import Mapping
from typing import Any

from ldm_jax.convert.rules import CONV1D, CONV2D, IDENTITY, ConversionError, Rule, Table, Transform
from ldm_jax.models.patchgan import PatchGAN
from ldm_jax.models.wave_discriminators import WaveDiscriminators

_WITHIN = ("loss.discriminator.", "first_stage_model.loss.discriminator.")
_REST = ("{rest:any}",)  # what is missing is named all the same


def patchgan_of(tensors: Mapping[str, Any]) -> PatchGAN:
    """The network that a file's shapes describe.

    Raises:
        ConversionError: no tensor of a PatchGAN.
    """
    for prefix in ("", *_WITHIN):
        weights = [x for x in tensors if x.startswith(f"{prefix}main.") and x.endswith(".weight")]
        kernels = [shape for x in weights if len(shape := tuple(tensors[x].shape)) == 4]
        first = f"{prefix}main.0.weight"
        if first in weights and len(kernels) > 2:
            width, channels = tuple(tensors[first].shape)[:2]
            return PatchGAN(features=width, layers=len(kernels) - 2, in_channels=channels)
    raise ConversionError("these are not the weights of a PatchGAN: no main.0.weight")


def patchgan_table(layers: int) -> Table:
    """Of a PatchGAN of so many layers with norms. Running moments are left: nothing uses them."""
    rules = []
    for index, name in ((0, "conv_0"), (3 * layers + 2, "conv_out")):
        rules.append(Rule(f"main.{index}.weight", f"{name}/kernel", CONV2D))
        rules.append(Rule(f"main.{index}.bias", f"{name}/bias"))
    for i in range(1, layers + 1):
        rules.append(Rule(f"main.{3 * i - 1}.weight", f"conv_{i}/kernel", CONV2D))
        rules.append(Rule(f"main.{3 * i}.weight", f"norm_{i}/scale"))
        rules.append(Rule(f"main.{3 * i}.bias", f"norm_{i}/bias"))
    aliases = tuple((f"{prefix}{{name:any}}", "{name}") for prefix in _WITHIN)
    return Table(rules=rules, ignored=_REST, aliases=aliases)


def _vector(axes: int) -> Transform:
    """One number a channel, with as many axes as the kernel has in the file."""
    return Transform(
        forward=lambda x: (x.reshape(-1),),
        backward=lambda x: (x.reshape(-1, *(1,) * (axes - 1)),),
    )


_PERIOD_KERNEL = Transform(  # (out, in, taps, 1), one tap along the phases of a period
    forward=lambda x: (x[..., 0].transpose(2, 1, 0),),
    backward=lambda x: (x.transpose(2, 1, 0)[..., None],),
)
_PERIODS = (("weight_g", "kernel_g", _vector(4)), ("weight_v", "kernel_v", _PERIOD_KERNEL))
_SCALES = (("weight_g", "kernel_g", _vector(3)), ("weight_v", "kernel_v", CONV1D))
_FIRST_SCALE = (("weight_orig", "kernel", CONV1D), ("weight_u", "kernel_u", IDENTITY))


def wave_table(module: WaveDiscriminators) -> Table:
    """Of HiFi-GAN's names. The other vector of spectral norm, its `weight_v`, follows from `weight_u`."""
    rules: list[Rule] = []
    for i in range(len(module.periods)):
        rules += _layers(f"mpd.discriminators.{i}", f"mpd_{i}", _PERIODS)
    for i in range(module.scales):
        kernel = _SCALES if i else _FIRST_SCALE
        rules += _layers(f"msd.discriminators.{i}", f"msd_{i}", kernel)
    return Table(rules=rules, ignored=_REST)


def _layers(source: str, path: str, kernel: tuple[tuple[str, str, Transform], ...]) -> list[Rule]:
    return [
        Rule(f"{source}.{theirs}.{tensor}", f"{path}/{ours}/{parameter}", layout)
        for theirs, ours in (("convs.{j}", "convs_{j}"), ("conv_post", "conv_post"))
        for tensor, parameter, layout in (*kernel, ("bias", "bias", IDENTITY))
    ]
