"""AudioMAE, a masked autoencoder of spectrograms: the source of AudioLDM 2's language of audio.

Huang et al., "Masked Autoencoders that Listen", arXiv 2207.06405. Parameter paths mirror the keys
of the published `MaskedAutoencoderViT`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from ldm_jax.models.audiomae_blocks import NORM_EPSILON, Block, Pair, SwinBlock, dense
from ldm_jax.models.audiomae_pretraining import patchify
from ldm_jax.models.layers import Dtype, LayerNorm, upcast

# Parameters that training leaves alone: their gradient is 0, keep weight decay off them too.
FIXED = ("pos_embed", "decoder_pos_embed")
DECODERS = ("vit", "swin", None)
SWIN_SHIFTS = ((0, 0), (2, 0))  # of blocks 0, 2, ... and 1, 3, ...


def sincos_table(dim: int, grid: Pair) -> Float[np.ndarray, "1 tokens {dim}"]:
    """The position embedding that the published code makes for `grid` = (time, frequency) patches.

    Row 0, the class token's, is 0. Row 1 + n is [sin(a f), cos(a f), sin(b f), cos(b f)], where
    f_i = 10000 ** (-4 i / dim) for i < dim / 4, a = n mod time and b = n div time.

    So a and b are column and row of a grid laid out frequency by time, while patches lie time by
    frequency, n = t * frequency + k. The published weights were trained with this swap, hence it
    stays for training from scratch; each patch still has a code of its own. Conversion never makes
    the table but loads it.
    """
    place = np.arange(grid[0] * grid[1])
    frequencies = 10_000.0 ** (-4 * np.arange(dim // 4) / dim)
    angles = [place[:, None] * frequencies for place in (place % grid[0], place // grid[0])]
    table = np.concatenate([f(angle) for angle in angles for f in (np.sin, np.cos)], axis=1)
    return np.concatenate([np.zeros((1, dim)), table])[None]


class PatchEmbed(nn.Module):
    """A convolution whose stride is its window: one matrix for all patches."""

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, patches: Shaped[Array, "batch tokens p"]) -> Shaped[Array, "batch tokens c"]:
        """Patches as `patchify` gives them, embedded."""
        return dense(self.features, dtype=self.dtype, name="proj")(patches)


class AudioMAE(nn.Module):
    """Encoder (ViT-B/16 as published) and, where wanted, one of the two decoders.

    Attributes:
        img_size: frames and mel bins of the input.
        patch_size: of the square patches.
        embed_dim: channels of the encoder.
        depth: blocks of the encoder.
        heads: of its attention.
        mlp_ratio: hidden units of an MLP for each channel.
        averaged_blocks: how many last blocks `features` averages.
        decoder: "vit" (global attention), "swin" (windows of 4 x 4 patches, shifted in time in
            every other block), or None.
        decoder_dim: channels of the decoder.
        decoder_depth: its blocks; published are 8 for "vit" and 16 for "swin".
        decoder_heads: of its attention.
        dtype: compute type.
    """

    img_size: Pair = (1024, 128)
    patch_size: int = 16
    embed_dim: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: int = 4
    averaged_blocks: int = 3
    decoder: str | None = None
    decoder_dim: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 16
    dtype: Dtype = jnp.float32

    @property
    def grid(self) -> Pair:
        """Patches in time and in frequency."""
        return self.img_size[0] // self.patch_size, self.img_size[1] // self.patch_size

    def setup(self) -> None:
        """Makes the layers, those of a decoder only where there is one."""
        if self.decoder not in DECODERS:
            names = ", ".join(map(repr, DECODERS))
            raise ValueError(f"decoder {self.decoder!r} is none of {names}")
        token = nn.initializers.normal(0.02)
        self.cls_token = self.param("cls_token", token, (1, 1, self.embed_dim))
        self.pos_embed = self.param("pos_embed", _table, self.embed_dim, self.grid)
        self.patch_embed = PatchEmbed(self.embed_dim, self.dtype)
        self.blocks = [Block(self.heads, self.mlp_ratio, self.dtype) for _ in range(self.depth)]
        self.norm = LayerNorm(NORM_EPSILON, self.dtype)
        if self.decoder is None:
            return
        self.mask_token = self.param("mask_token", token, (1, 1, self.decoder_dim))
        self.decoder_pos_embed = self.param(
            "decoder_pos_embed", _table, self.decoder_dim, self.grid
        )
        self.decoder_embed = dense(self.decoder_dim, dtype=self.dtype)
        self.decoder_blocks = [self._decoder_block(i) for i in range(self.decoder_depth)]
        self.decoder_norm = LayerNorm(NORM_EPSILON, self.dtype)
        self.decoder_pred = dense(self.patch_size**2, dtype=self.dtype)

    def _decoder_block(self, index: int) -> nn.Module:
        if self.decoder == "vit":
            return Block(self.decoder_heads, self.mlp_ratio, self.dtype)
        return SwinBlock(
            self.decoder_heads,
            self.grid,
            shift=SWIN_SHIFTS[index % 2],
            mlp_ratio=self.mlp_ratio,
            dtype=self.dtype,
        )

    def __call__(
        self,
        fbank: Shaped[Array, "batch time frequency"],
        keep_ids: Int[Array, "batch kept"] | None = None,
        restore_ids: Int[Array, "batch patches"] | None = None,
        *,
        deterministic: bool = True,
    ) -> Shaped[Array, "batch tokens c"]:
        """`decode(encode(fbank, keep_ids), restore_ids)`; without a decoder the latent."""
        latent = self.encode(fbank, keep_ids)
        if self.decoder is None:
            return latent
        return self.decode(latent, restore_ids, deterministic=deterministic)

    def features(
        self, fbank: Shaped[Array, "batch time frequency"]
    ) -> Shaped[Array, "batch patches c"]:
        """The mean of norm(x) over the outputs x of the last blocks, without the class token.

        With `ldm_jax.models.loa.pool_loa` this is AudioLDM 2's language of audio.

        Args:
            fbank: as `ldm_jax.audio.kaldi.audiomae_input` makes it.
        """
        x = self._embed(fbank, None)
        total = jnp.zeros((), jnp.promote_types(self.dtype, jnp.float32))
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i >= self.depth - self.averaged_blocks:
                total = upcast(self.norm(x[:, 1:])) + total
        return (total / self.averaged_blocks).astype(self.dtype)

    def encode(
        self,
        fbank: Shaped[Array, "batch time frequency"],
        keep_ids: Int[Array, "batch kept"] | None = None,
    ) -> Shaped[Array, "batch tokens c"]:
        """The class token and the patches `keep_ids` (None: all) after all blocks and `norm`."""
        x = self._embed(fbank, keep_ids)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def decode(
        self,
        latent: Shaped[Array, "batch tokens c"],
        restore_ids: Int[Array, "batch patches"] | None = None,
        *,
        deterministic: bool = True,
    ) -> Shaped[Array, "batch patches pixels"]:
        """Patches predicted from `encode`'s latent.

        Args:
            latent: class token, then kept patches.
            restore_ids: where each patch lies in the row "kept patches, then hidden ones"; None if
                none is hidden and they are in order.
            deterministic: False when training; the "swin" decoder then needs the rng "dropout".
        """
        x = self.decoder_embed(latent)
        if restore_ids is not None:
            batch, tokens, c = x.shape
            hidden = (batch, restore_ids.shape[1] + 1 - tokens, c)
            row = [x[:, 1:], jnp.broadcast_to(self.mask_token.astype(x.dtype), hidden)]
            patches = _take(jnp.concatenate(row, axis=1), restore_ids)
            x = jnp.concatenate([x[:, :1], patches], axis=1)
        x = x + jax.lax.stop_gradient(self.decoder_pos_embed).astype(x.dtype)
        if self.decoder == "vit":
            for block in self.decoder_blocks:
                x = block(x)
            x = x[:, 1:]
        else:
            x = x[:, 1:]  # the windows have no place for a class token
            for block in self.decoder_blocks:
                x = block(x, deterministic=deterministic)
        return self.decoder_pred(self.decoder_norm(x))

    def _embed(
        self,
        fbank: Shaped[Array, "batch time frequency"],
        keep_ids: Int[Array, "batch kept"] | None,
    ) -> Shaped[Array, "batch tokens c"]:
        if fbank.shape[1:] != self.img_size:
            raise ValueError(f"fbank is {fbank.shape[1:]}, this network takes {self.img_size}")
        patches = patchify(fbank, self.patch_size)
        table = jax.lax.stop_gradient(self.pos_embed).astype(self.dtype)
        table = jnp.broadcast_to(table, (fbank.shape[0], *table.shape[1:]))
        places = table[:, 1:]
        if keep_ids is not None:  # first, so that the embedding works on the kept patches alone
            patches, places = _take(patches, keep_ids), _take(places, keep_ids)
        cls_token = self.cls_token.astype(self.dtype) + table[:, :1]
        return jnp.concatenate([cls_token, self.patch_embed(patches) + places], axis=1)


def _table(key: Array, dim: int, grid: Pair) -> Float[Array, "1 tokens {dim}"]:
    return jnp.asarray(sincos_table(dim, grid), jnp.float32)


def _take(
    x: Shaped[Array, "batch tokens c"], ids: Int[Array, "batch chosen"]
) -> Shaped[Array, "batch chosen c"]:
    return jnp.take_along_axis(x, ids[:, :, None], axis=1)
