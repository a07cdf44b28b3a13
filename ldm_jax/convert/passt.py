"""Published PaSST weights: keys of hear21passt's `PaSST`, bare or under "net." of its wrapper."""

from collections.abc import Mapping

import numpy as np

from ldm_jax.convert.rules import LINEAR, ConversionError, Rule, Table, Transform
from ldm_jax.models.passt import PaSST

_HEAD_DIM = 64  # at every published size

PATCHES = Transform(  # (out, 1, mels, frames) as (frames, mels, 1, out)
    forward=lambda x: (x.transpose(3, 2, 1, 0),), backward=lambda x: (x.transpose(3, 2, 1, 0),)
)
ROWS = Transform(forward=lambda x: (x[0],), backward=lambda x: (x[None],))  # (1, n, c) as (n, c)
ALONG_TIME = Transform(  # (1, c, 1, t) as (t, c)
    forward=lambda x: (x[0, :, 0].T,), backward=lambda x: (x.T[None, :, None],)
)
ALONG_FREQUENCY = Transform(  # (1, c, f, 1) as (f, c)
    forward=lambda x: (x[0, :, :, 0].T,), backward=lambda x: (x.T[None, :, :, None],)
)


def _dense(source: str, path: str) -> tuple[Rule, Rule]:
    return (
        Rule(f"{source}.weight", f"{path}/kernel", LINEAR),
        Rule(f"{source}.bias", f"{path}/bias"),
    )


def _norm(source: str, path: str) -> tuple[Rule, Rule]:
    return Rule(f"{source}.weight", f"{path}/scale"), Rule(f"{source}.bias", f"{path}/bias")


HEAR21PASST = Table(
    rules=(
        Rule("cls_token", "cls_token", ROWS),
        Rule("dist_token", "dist_token", ROWS),
        Rule("new_pos_embed", "new_pos_embed", ROWS),
        Rule("time_new_pos_embed", "time_new_pos_embed", ALONG_TIME),
        Rule("freq_new_pos_embed", "freq_new_pos_embed", ALONG_FREQUENCY),
        Rule("patch_embed.proj.weight", "patch_embed_proj/kernel", PATCHES),
        Rule("patch_embed.proj.bias", "patch_embed_proj/bias"),
        *_norm("blocks.{i}.norm1", "blocks_{i}/norm1"),
        *_dense("blocks.{i}.attn.qkv", "blocks_{i}/attn/qkv"),
        *_dense("blocks.{i}.attn.proj", "blocks_{i}/attn/proj"),
        *_norm("blocks.{i}.norm2", "blocks_{i}/norm2"),
        *_dense("blocks.{i}.mlp.fc{j}", "blocks_{i}/mlp/fc{j}"),
        *_norm("norm", "norm"),
        *_norm("head.0", "head_0"),
        *_dense("head.1", "head_1"),
    ),
    ignored=("head_dist.{rest:any}",),  # of training
)


def network_of(tensors: Mapping[str, np.ndarray]) -> PaSST:
    """The network that a file holds, told by its tensors.

    Raises:
        ConversionError: tensors that say its size are missing, or are of another kind of network.
    """
    needed = {
        name: tensors[name].shape
        for name in ("patch_embed.proj.weight", "time_new_pos_embed", "dist_token", "head.1.weight")
        if name in tensors
    }
    if len(needed) < 4 or "freq_new_pos_embed" not in tensors:
        raise ConversionError(
            f"no PaSST with a distillation token: of what tells its size it has {list(needed)}"
        )
    width, _, patch, _ = needed["patch_embed.proj.weight"]
    network = PaSST(
        time_patches=needed["time_new_pos_embed"][3],
        patch_size=patch,
        embed_dim=width,
        depth=len({name.split(".")[1] for name in tensors if name.startswith("blocks.")}),
        heads=max(1, width // _HEAD_DIM),
        num_classes=needed["head.1.weight"][0],
    )
    bands = tensors["freq_new_pos_embed"].shape[2]
    if bands != network.freq_patches:
        raise ConversionError(
            f"{bands} patches in frequency; supported are the {network.freq_patches} of 128 bands at stride 10"
        )
    return network
