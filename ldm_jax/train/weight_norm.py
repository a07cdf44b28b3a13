"""Weight norm for networks that hold plain kernels (Salimans & Kingma, arXiv 1602.07868): HiFi-GAN's generator.

A kernel is g v / |v|, with one length g and one direction v a channel, as the published training code has it: by output
channels, and by input channels where the convolution is transposed (PyTorch's first axis of either). What is trained,
averaged and kept in checkpoints are `kernel_g` and `kernel_v`; networks, and what is exported, have `kernel`.
"""

import re
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ldm_jax.models.layers import upcast
from ldm_jax.train.representation import Representation, Tree, flat, has, nested

TRANSPOSED = re.compile(
    r"upsampler_\d+/kernel$"
)  # those of shape (taps, in, out) whose channels are `in`


def weight_normed(patterns: tuple[str, ...]) -> Representation:
    """Kernels whose paths have one of `patterns` as (`kernel_g`, `kernel_v`); nothing is held.

    `join(split(params))` is `params` up to rounding: v starts as the kernel and g as its lengths.
    """

    def split(params: Tree, key: Key[Array, ""]) -> tuple[Tree, Tree]:
        del key
        out: dict[str, Any] = {}
        for path, leaf in flat(params).items():
            if _is_kernel(path, patterns):
                out[f"{path}_g"], out[f"{path}_v"] = lengths(leaf, _axis(path)), leaf
            else:
                out[path] = leaf
        return nested(out, params), {}

    def join(trained: Tree, held: Tree) -> Tree:
        del held
        leaves = flat(trained)
        out: dict[str, Any] = {}
        for path, leaf in leaves.items():
            plain = path[:-2]
            if not (path.endswith(("_g", "_v")) and _is_kernel(plain, patterns)):
                out[path] = leaf
            elif path.endswith("_v"):
                out[plain] = kernel(leaves[f"{plain}_g"], leaf, _axis(plain))
        return nested(out, trained)

    return Representation(split, join)


def lengths(v: Float[Array, "*window in out"], axis: int) -> Float[Array, " channels"]:
    """|v| of each channel along `axis`."""
    others = tuple(i for i in range(v.ndim) if i != axis % v.ndim)
    return jnp.sqrt(jnp.square(upcast(v)).sum(others))


def kernel(
    g: Float[Array, " channels"], v: Float[Array, "*window in out"], axis: int
) -> Float[Array, "*window in out"]:
    """The kernel g v / |v|."""
    shape = [1] * v.ndim
    shape[axis] = -1
    return v * (g / lengths(v, axis)).reshape(shape)


def _is_kernel(path: str, patterns: tuple[str, ...]) -> bool:
    return path.endswith("/kernel") and has(path, patterns)


def _axis(path: str) -> int:
    return -2 if TRANSPOSED.search(path) else -1
