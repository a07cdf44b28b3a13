"""PaSST (Koutini et al., arXiv 2110.05069): a ViT on overlapping patches of a spectrogram, AudioSet's classes out.

As evaluation runs it: no patches are left out. Parameter paths mirror the published keys of `PaSST`.
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ldm_jax.models.audiomae_blocks import NORM_EPSILON, Block
from ldm_jax.models.layers import Conv, Dense, Dtype, LayerNorm, upcast

_HEAD_EPSILON = 1e-5


class PaSSTOutput(NamedTuple):
    """What metrics read, in at least float32.

    Attributes:
        features: the mean of the class and the distillation token.
        logits: of the classes, before the sigmoid.
    """

    features: Float[Array, "batch c"]
    logits: Float[Array, "batch classes"]


class PaSST(nn.Module):
    """The network; the defaults are `passt_s_swa_p16_128_ap476`, of 10 s.

    Attributes:
        mels: bands of the spectrogram.
        time_patches: the most patches in time.
        patch_size: of the square patches.
        stride: between patches, in both directions.
        embed_dim: channels.
        depth: blocks.
        heads: of the attention.
        num_classes: of AudioSet.
        dtype: compute type.
    """

    mels: int = 128
    time_patches: int = 99
    patch_size: int = 16
    stride: int = 10
    embed_dim: int = 768
    depth: int = 12
    heads: int = 12
    num_classes: int = 527
    dtype: Dtype = jnp.float32

    @property
    def freq_patches(self) -> int:
        """Patches in frequency."""
        return (self.mels - self.patch_size) // self.stride + 1

    @nn.compact
    def __call__(self, log_mel: Float[Array, "batch frames mels"]) -> PaSSTOutput:
        """Features and logits of clips.

        Args:
            log_mel: spectrograms of `audio.passt_features`.

        Raises:
            ValueError: another number of bands, less than a patch, or more patches in time than have a position.
        """
        batch, frames, mels = log_mel.shape
        times = (frames - self.patch_size) // self.stride + 1
        if mels != self.mels or not 1 <= times <= self.time_patches:
            most = self.patch_size + self.stride * self.time_patches - 1
            raise ValueError(
                f"log_mel is {log_mel.shape}; it should be (batch, frames, {self.mels}) with "
                f"{self.patch_size} to {most} frames"
            )
        x = Conv(
            self.embed_dim,
            (self.patch_size, self.patch_size),
            strides=(self.stride, self.stride),
            padding="VALID",
            dtype=self.dtype,
            name="patch_embed_proj",
        )(log_mel[..., None].astype(self.dtype))
        x = x + self._place("time_new_pos_embed", self.time_patches)[None, :times, None, :]
        x = x + self._place("freq_new_pos_embed", self.freq_patches)[None, None]
        # The published order is frequency by time; no layer minds, tokens are told apart by their positions.
        x = x.reshape(batch, -1, self.embed_dim)
        heads = self._place("cls_token", 1), self._place("dist_token", 1)
        tokens = jnp.concatenate(heads) + self._place("new_pos_embed", 2)
        tokens = jnp.broadcast_to(tokens[None], (batch, *tokens.shape))
        x = jnp.concatenate([tokens, x], axis=1)
        for i in range(self.depth):
            x = Block(self.heads, dtype=self.dtype, name=f"blocks_{i}")(x)
        x = upcast(LayerNorm(NORM_EPSILON, self.dtype, name="norm")(x[:, :2]))
        features = x.mean(axis=1)
        head = LayerNorm(_HEAD_EPSILON, self.dtype, name="head_0")(features.astype(self.dtype))
        logits = Dense(self.num_classes, dtype=self.dtype, name="head_1")(head)
        return PaSSTOutput(features, upcast(logits))

    def _place(self, name: str, count: int) -> Float[Array, "count c"]:
        init = nn.initializers.truncated_normal(0.02)
        return self.param(name, init, (count, self.embed_dim)).astype(self.dtype)
