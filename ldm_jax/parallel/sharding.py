"""Which device holds which part of what is trained: one table, matched against the paths of parameters.

A kernel is (..., in, out) in every network. The products of a transformer come in pairs: one that widens, or splits
into heads, and one that comes back. With `tensor` the first is cut by columns and the second by rows, so that what
lies between stays on its device and one sum a pair is exchanged (Shoeybi et al., 2019, Megatron-LM). `fsdp` cuts the
other side of each kernel, and of everything else one side (Rajbhandari et al., 2020, ZeRO).
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec
from jax.sharding import PartitionSpec as P

from ldm_jax.parallel.mesh import ROWS, replicated, rows

# (pattern of a path's end, axes of the *last* dimensions); the first that is found holds. Moments of an optimiser and
# moving averages have paths that end as those of the parameters do, and are cut alike.
RULES: tuple[tuple[str, PartitionSpec], ...] = (
    # Attention, in the names of diffusers, T5, BERT and Swin, GPT-2, VITS, timm.
    (
        r"(to_[qkv]|SelfAttention/[qkv]|query|key|value|c_attn|[qkv]_proj|qkv)/kernel$",
        P("fsdp", "tensor"),
    ),
    (
        r"(to_out_0|SelfAttention/o|attention/output/dense|c_proj|out_proj|attn/proj)/kernel$",
        P("tensor", "fsdp"),
    ),
    # The feed-forward pair. VITS's is a convolution over time: (window, in, out).
    (
        r"(ff/net_0/proj|wi_\d|wi|intermediate/dense|c_fc|mlp/fc1|feed_forward/conv_1)/kernel$",
        P("fsdp", "tensor"),
    ),
    (r"(ff/net_2|wo|output/dense|mlp/fc2|feed_forward/conv_2)/kernel$", P("tensor", "fsdp")),
    # Every other product, and every convolution.
    (r"kernel(_v)?$", P("fsdp", None)),
    (r"embedding$", P(None, "fsdp")),
    (r"pos_embed$", P(None, "fsdp")),
    (r"", P()),
)
# A parameter of fewer elements is not worth a message.
_SMALL = 2**12


def spec_of(
    path: str,
    shape: Sequence[int],
    mesh: Mesh | AbstractMesh,
    *,
    rules: tuple[tuple[str, PartitionSpec], ...] = RULES,
) -> PartitionSpec:
    """How the array at `path` is cut on `mesh`.

    An axis that does not divide its dimension is dropped; `fsdp` then goes to the largest dimension that it does
    divide and that nothing else cuts. Nothing small is cut, nor what has fewer dimensions than its rule names.

    Args:
        path: keys joined by "/", as in "opt/0/mu/unet/mid_block/resnets_0/conv1/kernel".
        shape: of the array.
        mesh: with the axes of `training_mesh`; one that is missing counts as 1.
        rules: (pattern, axes of the last dimensions), searched in order.
    """
    spec = next(spec for pattern, spec in rules if re.search(pattern, path))
    if len(spec) > len(shape) or math.prod(shape) < _SMALL:
        return P()
    wanted: list[Any] = [None] * (len(shape) - len(spec)) + list(spec)
    axes = [
        axis if _divides(mesh, axis, size) else None
        for axis, size in zip(wanted, shape, strict=True)
    ]
    if "fsdp" in wanted and "fsdp" not in axes:
        free = [
            i for i, axis in enumerate(axes) if axis is None and _divides(mesh, "fsdp", shape[i])
        ]
        if free:
            axes[max(free, key=lambda i: (shape[i], i))] = "fsdp"
    return P(*axes) if any(axes) else P()


def shardings(tree: Any, mesh: Mesh) -> Any:
    """A sharding for every leaf of `tree`, whose leaves have shapes: arrays or what `jax.eval_shape` gives."""

    def sharding(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return NamedSharding(mesh, spec_of(name, leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(sharding, tree)


def gathered(tree: Any) -> Any:
    """Parameters as a step computes with them: what `fsdp` cuts is whole on every device; `tensor`'s cuts stay.

    Within a program under `jax.set_mesh`; the gradient comes back cut, as a reduce-scatter. Without this the compiler
    weighs for each product whether to move the kernel or the activations, and in a UNet it moves both: twice the bytes,
    and all-to-alls.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.shape.get("fsdp", 1) == 1:
        return tree

    def whole(path: tuple[Any, ...], leaf: Any) -> Any:
        spec = spec_of(jax.tree_util.keystr(path, simple=True, separator="/"), leaf.shape, mesh)
        if "fsdp" not in spec:
            return leaf
        rest = P(*(None if axis == "fsdp" else axis for axis in spec))
        return jax.lax.with_sharding_constraint(leaf, rest)

    return jax.tree_util.tree_map_with_path(whole, tree)


def batch_shardings(tree: Any, mesh: Mesh) -> Any:
    """Shardings for a batch, or what was drawn for it: rows over `data` and `fsdp`; scalars are everybody's."""
    return jax.tree.map(lambda leaf: rows(mesh) if leaf.ndim else replicated(mesh), tree)


def abstract(tree: Any, shardings: Any) -> Any:
    """What a program can be compiled for in place of arrays: shapes and types of `tree`, placed by `shardings`."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        tree,
        shardings,
    )


def check_batch(batch: int, mesh: Mesh, *, microbatches: int = 1) -> None:
    """Raises ValueError, in one sentence, where `batch` rows cannot be divided evenly."""
    devices = math.prod(mesh.shape[axis] for axis in ROWS if axis in mesh.axis_names)
    if microbatches < 1 or batch < 1 or batch % (devices * microbatches):
        pieces = f" in {microbatches} microbatches" if microbatches != 1 else ""
        nearest = max(batch // (devices * microbatches), 1) * devices * microbatches
        raise ValueError(
            f"a batch of {batch}{pieces} cannot be divided among the {devices} devices of data x fsdp;"
            f" {nearest} could"
        )


def local_rows(batch: int, mesh: Mesh) -> np.ndarray:
    """Which rows of a global batch this process feeds, in order; processes that share rows feed them all."""
    slices = rows(mesh).addressable_devices_indices_map((batch,)).values()
    return np.unique(np.concatenate([np.arange(batch)[index] for index in slices]))


def _divides(mesh: Mesh | AbstractMesh, axis: str | None, size: int) -> bool:
    return axis in mesh.axis_names and mesh.shape[axis] > 1 and size % mesh.shape[axis] == 0
