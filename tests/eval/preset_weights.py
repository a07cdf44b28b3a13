"""Random weights in the published names, made again by whoever needs them: our presets here, the peers' tools there.

VGGish, Cnn14 and PaSST are narrower than published, which no rule of a preset depends on. CLAP is as published.
"""

from collections.abc import Mapping

import numpy as np

from ldm_jax.convert import clap
from ldm_jax.convert.checkpoint import abstract_params
from ldm_jax.convert.random_checkpoint import random_params
from ldm_jax.convert.rules import export
from tests.golden import random_tensors

VGGISH = (8, 16, 32, 64)  # channels of the stages
VGGISH_HIDDEN, VGGISH_OUT = 64, 16
CNN14 = (
    8,
    16,
    32,
    32,
    32,
    8,
)  # of the blocks; fewer at the end than clips, where the tools lose digits
PASST = (128, 2)  # channels, blocks

Shapes = Mapping[str, tuple[int, ...]]


def vggish() -> dict[str, np.ndarray]:
    """In torchvggish's names."""
    a, b, c, d = VGGISH
    convolutions = {0: (1, a), 3: (a, b), 6: (b, c), 8: (c, c), 11: (c, d), 13: (d, d)}
    shapes: dict[str, tuple[int, ...]] = {}
    for place, (before, after) in convolutions.items():
        shapes |= {
            f"features.{place}.weight": (after, before, 3, 3),
            f"features.{place}.bias": (after,),
        }
    widths = (6 * 4 * d, VGGISH_HIDDEN, VGGISH_HIDDEN, VGGISH_OUT)
    for i, place in enumerate((0, 2, 4)):
        name = f"embeddings.{place}"
        shapes |= {f"{name}.weight": (widths[i + 1], widths[i]), f"{name}.bias": (widths[i + 1],)}
    tensors = random_tensors(shapes, gain=1.4)
    for i, place in enumerate((0, 2, 4)):  # which `random_tensors` takes for tables, by their name
        tensors[f"embeddings.{place}.weight"] *= 1.4 / np.sqrt(widths[i])
    return _narrow(tensors)


def cnn14() -> dict[str, np.ndarray]:
    """In PANNs' names, without the front end's matrices."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str, width: int) -> Shapes:
        return {f"{name}.{x}": (width,) for x in ("weight", "bias", "running_mean", "running_var")}

    shapes |= norm("bn0", 64)
    before = 1
    for i, after in enumerate(CNN14):
        block = f"conv_block{i + 1}"
        shapes |= {f"{block}.conv1.weight": (after, before, 3, 3), **norm(f"{block}.bn1", after)}
        shapes |= {f"{block}.conv2.weight": (after, after, 3, 3), **norm(f"{block}.bn2", after)}
        before = after
    shapes |= {"fc1.weight": (before, before), "fc1.bias": (before,)}
    shapes |= {"fc_audioset.weight": (527, before), "fc_audioset.bias": (527,)}
    tensors = random_tensors(shapes, gain=1.6)
    tensors["bn0.running_mean"] -= 40  # decibels
    tensors["bn0.running_var"] *= 200
    tensors["fc_audioset.weight"] *= 10  # so that some classes stand out
    return _narrow(tensors)


def passt() -> dict[str, np.ndarray]:
    """In hear21passt's names."""
    width, depth = PASST
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "dist_token": (1, 1, width),
        "new_pos_embed": (1, 2, width),
        "freq_new_pos_embed": (1, width, 12, 1),
        "time_new_pos_embed": (1, width, 1, 99),
        "patch_embed.proj.weight": (width, 1, 16, 16),
        "patch_embed.proj.bias": (width,),
        "head.0.weight": (width,),
        "head.0.bias": (width,),
        "head.1.weight": (527, width),
        "head.1.bias": (527,),
        "head_dist.weight": (527, width),
        "head_dist.bias": (527,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for i in range(depth):
        block = f"blocks.{i}"
        for name, size in (("attn.qkv", 3), ("attn.proj", 1), ("mlp.fc1", 4)):
            shapes |= {
                f"{block}.{name}.weight": (size * width, width),
                f"{block}.{name}.bias": (size * width,),
            }
        shapes |= {f"{block}.mlp.fc2.weight": (width, 4 * width), f"{block}.mlp.fc2.bias": (width,)}
        for norm in ("norm1", "norm2"):
            shapes |= {f"{block}.{norm}.weight": (width,), f"{block}.{norm}.bias": (width,)}
    tensors = random_tensors(shapes)
    for token in ("cls_token", "dist_token", "new_pos_embed"):
        tensors[token] *= 0.1
    tensors["head.1.weight"] *= 3
    return _narrow(tensors)


def laion_clap(variant: str, *, fusion: bool) -> dict[str, np.ndarray]:
    """In LAION's names."""
    module = clap.from_config(clap.laion_config(variant, fusion=fusion))
    params = random_params(module, name="clap", seed=0)
    assert abstract_params(module).keys() == params.keys()
    tensors = dict(export(params, clap.LAION, network="clap"))
    tensors["audio_branch.bn0.running_mean"] = tensors["audio_branch.bn0.running_mean"] - 30  # dB
    tensors["audio_branch.bn0.running_var"] = tensors["audio_branch.bn0.running_var"] * 400
    for name in ("text_projection.2.weight", "text_projection.2.bias"):
        tensors[name] = -tensors[name]  # so that most cosines are above 0
    return _narrow(tensors)


def _narrow(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.asarray(x, np.float32) for name, x in tensors.items()}
