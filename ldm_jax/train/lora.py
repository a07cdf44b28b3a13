"""LoRA: a kernel W stays, and a product of two thin matrices is learnt on top of it.

    W' = W + (alpha / rank) A B        W, W' (*window, in, out), A (*window, in, rank), B (rank, out)

For a convolution that is a convolution to `rank` channels followed by one over a single point, as PEFT and LoRA for
Stable Diffusion have it. B starts at 0 and A as PyTorch draws a linear layer, uniform within 1 / sqrt(fan-in), so
that training starts at W itself. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685.

Steps are taken with W' formed, so that networks need not know of this: memory for moments, averages and checkpoints
falls with the rank; the gradient of a kernel is still formed, one after another, on its way to A and B.
"""

import dataclasses
import json
import math
import pathlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ldm_jax.convert import native
from ldm_jax.convert.files import open_tensors, save_tensors, staged, write_json
from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.train.representation import Representation, Tree, flat, matching, merged, nested

FORMAT = 1
A, B = "lora_a", "lora_b"
WEIGHTS, SETTINGS = "lora.safetensors", "lora.json"
# The projections of attention, in the names of the UNet and the VAE, and of GPT-2.
ATTENTION = (r"/(to_[qkv]|to_out_0|c_attn)/kernel$",)


@dataclasses.dataclass(kw_only=True, slots=True)
class LoRA:
    """What is learnt on top of held kernels.

    Attributes:
        rank: of each product; 0 is no LoRA.
        alpha: the product is scaled by alpha / rank; 0 is alpha = rank.
        targets: patterns of the kernels' paths.
    """

    rank: int = 0
    alpha: float = 0.0
    targets: tuple[str, ...] = ATTENTION

    def scale(self) -> float:
        """What multiplies the product: alpha / rank."""
        return (self.alpha or self.rank) / self.rank


@dataclasses.dataclass(frozen=True, kw_only=True)
class Saved:
    """What `load` read.

    Attributes:
        settings: that it was trained with.
        factors: {network: {... kernel: {lora_a, lora_b}}}.
        bases: for each network what `native.describe` and `native.fingerprint` say of it before it was trained.
    """

    settings: LoRA
    factors: Tree
    bases: Mapping[str, Mapping[str, Any]]


def check(settings: LoRA) -> None:
    """Raises ValueError, in one sentence, for a rank or alpha that cannot be."""
    if settings.rank < 0 or not math.isfinite(settings.alpha) or settings.alpha < 0:
        raise ValueError(
            f"lora.rank and lora.alpha must be 0 or more, not {settings.rank} and {settings.alpha}"
        )
    if settings.rank and not settings.targets:
        raise ValueError("lora.targets names no kernels; give patterns of their paths")


def representation(settings: LoRA, *, also: Sequence[str] = ()) -> Representation:
    """Factors of the kernels of `settings.targets`, and the parameters of the patterns `also` as they are.

    Raises:
        ValueError: (by `split`) a target that is no kernel, or a pattern that no path has.
    """

    def split(params: Tree, key: Key[Array, ""]) -> tuple[Tree, Tree]:
        leaves = flat(params)
        targets = matching(leaves, settings.targets)
        if wrong := [path for path in targets if not path.endswith("/kernel")]:
            raise ValueError(
                f"lora.targets has {wrong[0]}, which is no kernel; end the pattern with '/kernel$'"
            )
        whole = [path for path in matching(leaves, also) if path not in targets]
        trained = {path: leaves[path] for path in whole}
        for path in targets:
            trained |= _fresh(path, leaves[path], settings.rank, key)
        held = {path: x for path, x in leaves.items() if path not in whole}
        return nested(trained, params), nested(held, params)

    def join(trained: Tree, held: Tree) -> Tree:
        factors, whole = apart(trained)
        return merged(merge(held, factors, scale=settings.scale()), whole)

    return Representation(split, join)


def merge(params: Tree, factors: Tree, *, scale: float) -> Tree:
    """`params` with `scale` A B added to each kernel that `factors` has a pair for."""
    leaves, pairs = flat(params), flat(factors)
    for path in [path.removesuffix(f"/{A}") for path in pairs if path.endswith(f"/{A}")]:
        leaves[path] = leaves[path] + product(pairs[f"{path}/{A}"], pairs[f"{path}/{B}"], scale)
    return nested(leaves, params)


def apart(trained: Tree) -> tuple[Tree, Tree]:
    """(factors, parameters that are trained as they are)."""
    factors, whole = {}, {}
    for path, x in flat(trained).items():
        (factors if path.endswith((f"/{A}", f"/{B}")) else whole)[path] = x
    return nested(factors), nested(whole)


def product(
    a: Float[Array | np.ndarray, "*window in rank"],
    b: Float[Array | np.ndarray, "rank out"],
    scale: float,
) -> Float[Array, "*window in out"]:
    """`scale` A B, in full precision on every backend: it is small, and what is merged must be what was trained."""
    return scale * jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def save(
    trained: Tree,
    settings: LoRA,
    folder: pathlib.Path,
    *,
    bases: Mapping[str, Mapping[str, Any]],
    overwrite: bool = False,
) -> None:
    """Writes the factors in `trained` alone, whole or not at all; a base is not needed to read them.

    Raises:
        CheckpointError: `folder` is there already and `overwrite` is off.
        ValueError: there are no factors.
    """
    factors, _ = apart(trained)
    tensors = {path.replace("/", "."): np.asarray(x) for path, x in flat(factors).items()}
    if not tensors:
        raise ValueError("there is no LoRA to write; was lora.rank 0?")
    with staged(folder, overwrite=overwrite) as building:
        save_tensors(building / WEIGHTS, tensors)
        header = {"format": FORMAT, **dataclasses.asdict(settings)}
        write_json(building / SETTINGS, {**header, "bases": dict(bases)})


def load(folder: pathlib.Path) -> Saved:
    """Reads what `save` wrote.

    Raises:
        CheckpointError: a file missing, broken, or of a newer format.
    """
    try:
        content = json.loads((folder / SETTINGS).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / SETTINGS} cannot be read: {error}") from None
    if content.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder} has format {content.get('format')}; this ldm_jax reads {FORMAT}"
        )
    tensors = open_tensors(folder / WEIGHTS)
    settings = LoRA(rank=content["rank"], alpha=content["alpha"], targets=tuple(content["targets"]))
    factors = nested({name.replace(".", "/"): np.asarray(tensors[name]) for name in tensors})
    return Saved(settings=settings, factors=factors, bases=content["bases"])


def base_of(module: nn.Module, params: Tree) -> dict[str, Any]:
    """What `save` keeps of a network, so that factors are not put on another one unnoticed."""
    return {
        "network": native.describe(module),
        "fingerprint": native.fingerprint(module, flat(params)),
    }


def _fresh(path: str, kernel: Any, rank: int, key: Key[Array, ""]) -> dict[str, Array]:
    """A at random, by a key of this path alone, and B at 0, in the kernel's type."""
    if kernel.ndim < 2:
        raise ValueError(f"{path} of shape {kernel.shape} is no matrix; LoRA cannot factor it")
    *window, _ = kernel.shape
    bound = 1 / math.sqrt(math.prod(window))
    own = jax.random.fold_in(key, zlib.crc32(path.encode()))
    a = jax.random.uniform(own, (*window, rank), kernel.dtype, -bound, bound)
    return {f"{path}/{A}": a, f"{path}/{B}": jnp.zeros((rank, kernel.shape[-1]), kernel.dtype)}
