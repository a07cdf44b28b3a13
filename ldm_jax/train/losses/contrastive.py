"""The contrastive loss of CLAP and CLIP, and how often the nearest is the right one.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", arXiv 2103.00020; as
LAION-AI/CLAP's `ClipLoss` without its optional further layers and weights. Rows lie over all devices, and every text is
compared with every clip of the global batch: under `jit` that is one matrix product, and the compiler gathers for it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def cosines(
    text: Float[Array, "texts dim"], audio: Float[Array, "clips dim"]
) -> Float[Array, "texts clips"]:
    """Products of unit vectors in full float32: bfloat16 passes would be off by up to 0.5 in a logit of 100."""
    return jnp.matmul(text, audio.T, precision=jax.lax.Precision.HIGHEST)


def contrastive_loss(
    cosines: Float[Array, "batch batch"],
    *,
    text_scale: Float[Array, ""],
    audio_scale: Float[Array, ""],
    left_out: Bool[Array, "batch batch"] | None = None,
) -> Float[Array, ""]:
    """-1/2 mean_i [ln softmax_j(text_scale c_ij) + ln softmax_j(audio_scale c_ji)] at j = i.

    The first term looks for each text's clip, the second for each clip's text. LAION's code has one scale for both
    unless its further layers are on; `transformers.ClapModel` transposes what it should not, and looks for clips twice.

    Args:
        cosines: of text i and clip j.
        text_scale: exp(logit_scale_t).
        audio_scale: exp(logit_scale_a).
        left_out: symmetric; True for pairs that are no negatives of each other and count nowhere. The diagonal counts
            always.
    """

    def one_way(logits: Float[Array, "batch batch"]) -> Float[Array, ""]:
        if left_out is not None:
            spared = left_out & ~jnp.eye(len(logits), dtype=bool)
            logits = jnp.where(spared, -jnp.inf, logits)
        return -jnp.diagonal(jax.nn.log_softmax(logits, axis=-1)).mean()

    return (one_way(text_scale * cosines) + one_way(audio_scale * cosines.T)) / 2


def found(
    cosines: Float[Array, "batch batch"], *, same: Bool[Array, "batch batch"], among: int = 1
) -> Bool[Array, " batch"]:
    """Whether row i has fewer than `among` wrong columns j with c_ij >= c_ii: its recall at `among`.

    A tie counts against it, so that a network that maps all to one point finds nothing.

    Args:
        cosines: of the one that asks and those that are searched.
        same: True for columns that are as right as i's own, as clips with one caption are.
        among: how many are looked at.
    """
    rivals = (cosines >= jnp.diagonal(cosines)[:, None]) & ~same
    rivals = rivals & ~jnp.eye(len(cosines), dtype=bool)
    return rivals.sum(axis=1) < among


def same_rows(
    ids: Int[Array, "batch length"], mask: Bool[Array, "batch length"]
) -> Bool[Array, "batch batch"]:
    """Which rows hold the same tokens, padding aside."""
    ids = jnp.where(mask, ids, -1)
    return (ids[:, None, :] == ids[None, :, :]).all(axis=-1)
