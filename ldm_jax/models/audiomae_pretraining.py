"""How AudioMAE is trained: hide most patches, predict them, count the error on the hidden ones.

Huang et al., "Masked Autoencoders that Listen", arXiv 2207.06405:

    masking = random_masking(key, batch=8, tokens=512, mask_ratio=0.8)
    pred = model.apply(variables, fbank, masking.keep_ids, masking.restore_ids)
    loss = reconstruction_loss(pred, fbank, masking.mask)
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Shaped

from ldm_jax.models.layers import upcast

VARIANCE_FLOOR = 1e-6


class Masking(NamedTuple):
    """Which patches the encoder sees.

    Attributes:
        keep_ids: patches it sees, in the order in which it gets them.
        restore_ids: where each patch lies in the row "kept patches, then hidden ones".
        mask: 1 for hidden patches, 0 for kept ones.
    """

    keep_ids: Int[Array, "batch kept"]
    restore_ids: Int[Array, "batch tokens"]
    mask: Float[Array, "batch tokens"]


def random_masking(
    key: Key[Array, ""], *, batch: int, tokens: int, mask_ratio: float = 0.8
) -> Masking:
    """Keeps int(tokens (1 - mask_ratio)) patches of each clip, every choice equally likely."""
    kept = int(tokens * (1 - mask_ratio))
    if not 0 < kept <= tokens:
        raise ValueError(
            f"mask_ratio {mask_ratio} leaves {kept} of {tokens} patches; keep at least 1"
        )
    shuffled = jnp.argsort(jax.random.uniform(key, (batch, tokens)), axis=1)
    restore = jnp.argsort(shuffled, axis=1)
    return Masking(shuffled[:, :kept], restore, (restore >= kept).astype(jnp.float32))


def patchify(
    fbank: Shaped[Array, "batch time frequency"], patch_size: int = 16
) -> Shaped[Array, "batch tokens pixels"]:
    """Square patches, those of one time after the other; in a patch, frequency runs fastest."""
    batch, time, frequency = fbank.shape
    if time % patch_size or frequency % patch_size:
        raise ValueError(f"fbank {(time, frequency)} does not split into patches of {patch_size}")
    rows, columns = time // patch_size, frequency // patch_size
    x = fbank.reshape(batch, rows, patch_size, columns, patch_size).swapaxes(2, 3)
    return x.reshape(batch, rows * columns, patch_size**2)


def unpatchify(
    patches: Shaped[Array, "batch tokens pixels"], frequency: int = 128
) -> Shaped[Array, "batch time {frequency}"]:
    """The inverse of `patchify` for a filter bank of `frequency` bins."""
    batch, tokens, pixels = patches.shape
    size = math.isqrt(pixels)
    columns = frequency // size
    if size**2 != pixels or columns * size != frequency or tokens % columns:
        raise ValueError(f"{tokens} patches of {pixels} do not make up {frequency} frequency bins")
    x = patches.reshape(batch, tokens // columns, columns, size, size).swapaxes(2, 3)
    return x.reshape(batch, -1, frequency)


def reconstruction_loss(
    pred: Shaped[Array, "batch tokens pixels"],
    fbank: Shaped[Array, "batch time frequency"],
    mask: Shaped[Array, "batch tokens"],
    *,
    norm_pix: bool = True,
) -> Float[Array, ""]:
    """Mean squared error over the patches with mask 1, in at least float32.

    Args:
        pred: the decoder's patches.
        fbank: the encoder's input.
        mask: weight of each patch; 1 where hidden.
        norm_pix: whether the target is (patch - mean) / sqrt(variance + 1e-6), each patch by its
            own mean and unbiased variance; else the patch itself.
    """
    target = upcast(patchify(fbank, math.isqrt(pred.shape[-1])))
    if norm_pix:
        variance = target.var(axis=-1, ddof=1, keepdims=True)
        target = (target - target.mean(axis=-1, keepdims=True)) / jnp.sqrt(
            variance + VARIANCE_FLOOR
        )
    error = jnp.square(upcast(pred) - target).mean(axis=-1)
    return jnp.sum(error * mask) / jnp.sum(mask)
