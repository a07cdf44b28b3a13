"""PANNs' Cnn14 (Kong et al., arXiv 1912.10211): log-mel spectrograms in, AudioSet's classes out.

Six blocks of two 3x3 convolutions, each block at half the resolution of the one before; FD, KL, IS and
KID are computed from what comes out. Parameter paths mirror the published keys. The network is only
evaluated here: batch norms use their running statistics, and dropout is off.
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ldm_jax.models.layers import Dtype, upcast
from ldm_jax.models.prepared_layers import (
    Affine,
    BatchNorm,
    Conv,
    Dense,
    affine,
    at_least_two,
    convolved,
    prepared_conv,
)


class Cnn14Output(NamedTuple):
    """What metrics read, in at least float32.

    Attributes:
        embedding: relu of the layer before the classes.
        logits: of the classes, before the sigmoid.
    """

    embedding: Float[Array, "batch features"]
    logits: Float[Array, "batch classes"]


class PreparedCnn14(NamedTuple):
    """The parameters as evaluation uses them, see `Cnn14.prepare`.

    Attributes:
        norm: gain and shift of the bands.
        blocks: filters, with the gain of their batch norm, and its shift, of each pair of convolutions.
        hidden: matrix and bias of the embedding.
        classes: of the classes.
    """

    norm: Affine
    blocks: tuple[tuple[Affine, Affine], ...]
    hidden: Affine
    classes: Affine


class ConvBlock(nn.Module):
    """The parameters of two convolutions without biases, a batch norm behind each."""

    features: int
    width: int
    dtype: Dtype

    @nn.compact
    def __call__(self, in_features: int) -> tuple[Affine, Affine]:
        """Of both, prepared."""
        layers = []
        for i in (1, 2):
            conv = Conv(self.features, use_bias=False, name=f"conv{i}")(in_features)
            norm = BatchNorm(name=f"bn{i}")(self.features)
            layers.append(prepared_conv(conv, width=self.width, dtype=self.dtype, norm=norm))
            in_features = self.features
        return layers[0], layers[1]


class Cnn14(nn.Module):
    """The network at any of its sample rates, which differ in the front end alone: see `audio.panns_features`.

    Attributes:
        num_classes: of AudioSet.
        num_mels: bands of the spectrogram, at least 2^(blocks - 1).
        features: channels of each block; the last is also the width of the embedding.
        dtype: compute type.
    """

    num_classes: int = 527
    num_mels: int = 64
    features: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)
    dtype: Dtype = jnp.float32

    @property
    def min_frames(self) -> int:
        """The shortest spectrogram of which a frame is left after the poolings."""
        return 2 ** (len(self.features) - 1)

    @nn.compact
    def prepare(self) -> PreparedCnn14:
        """What of the network does not depend on its input: filters with the batch norms in them, transformed.

        Worth keeping between calls: on a CPU it takes as long as a clip or two.
        """
        norm = BatchNorm(name="bn0")(self.num_mels)
        blocks = []
        for i, features in enumerate(self.features):
            block = ConvBlock(features, self.num_mels >> i, self.dtype, name=f"conv_block{i + 1}")
            blocks.append(block(self.features[i - 1] if i else 1))
        last = self.features[-1]
        return PreparedCnn14(
            norm,
            tuple(blocks),
            Dense(last, self.dtype, name="fc1")(last),
            Dense(self.num_classes, self.dtype, name="fc_audioset")(last),
        )

    def __call__(
        self,
        log_mel: Float[Array, "batch frames mels"],
        lengths: Int[Array, " batch"] | None = None,
        prepared: PreparedCnn14 | None = None,
    ) -> Cnn14Output:
        """Embedding and logits of clips.

        Args:
            log_mel: spectrograms in dB.
            lengths: frames of each row that are the clip's; what lies behind counts for nothing, so that clips of
                any length share a shape. A row of fewer than `min_frames` comes out as NaN.
            prepared: what `prepare` gives; then no parameters are read.

        Raises:
            ValueError: another number of bands, or fewer than `min_frames` frames.
        """
        if log_mel.shape[1] < self.min_frames or log_mel.shape[2] != self.num_mels:
            raise ValueError(
                f"log_mel is {log_mel.shape}; it should be (batch, frames, {self.num_mels}) with at least "
                f"{self.min_frames} frames, so pad shorter clips with silence"
            )
        prepared = self.prepare() if prepared is None else prepared
        gain, shift = (values[None, None, :] for values in prepared.norm)
        x = (upcast(log_mel) * gain + shift).astype(self.dtype)
        x = _cut(x[..., None], lengths)
        for i, block in enumerate(prepared.blocks):
            for layer in block:
                x = _cut(convolved(x, layer), lengths)
            if i < len(prepared.blocks) - 1:
                x = _halved(x)
                lengths = None if lengths is None else lengths // 2
                x = _cut(x, lengths)
        lengths = None if lengths is None else at_least_two(lengths)
        pooled = _pooled(at_least_two(upcast(x).mean(axis=2)), lengths)
        embedding = nn.relu(affine(pooled.astype(self.dtype), prepared.hidden))
        logits = affine(embedding, prepared.classes)
        rows = slice(len(log_mel))
        return Cnn14Output(upcast(embedding[rows]), upcast(logits[rows]))


def _cut(
    x: Float[Array, "batch time width c"], lengths: Int[Array, " batch"] | None
) -> Float[Array, "batch time width c"]:
    """Zero from each row's end on, as the padding of a convolution is."""
    if lengths is None:
        return x
    inside = jnp.arange(x.shape[1])[None, :] < lengths[:, None]
    return jnp.where(inside[:, :, None, None], x, 0)


def _halved(x: Float[Array, "batch time width c"]) -> Float[Array, "batch half_time half_width c"]:
    """Means of 2 x 2; a last odd row or column is dropped."""
    time, width = (size // 2 * 2 for size in x.shape[1:3])
    x = x[:, :time, :width]
    return 0.25 * ((x[:, ::2, ::2] + x[:, ::2, 1::2]) + (x[:, 1::2, ::2] + x[:, 1::2, 1::2]))


def _pooled(
    x: Float[Array, "batch time c"], lengths: Int[Array, " batch"] | None
) -> Float[Array, "batch c"]:
    """The maximum over time, plus the mean."""
    if lengths is None:
        return x.max(axis=1) + _sum(x) / x.shape[1]
    inside = (jnp.arange(x.shape[1])[None, :] < lengths[:, None])[:, :, None]
    top = jnp.where(inside, x, -jnp.inf).max(axis=1)
    return top + _sum(x) / lengths[:, None]  # beyond its end a row is zero already


def _sum(x: Float[Array, "batch time c"]) -> Float[Array, "batch c"]:
    """Over time, in an order of its own: XLA's would depend on the batch."""
    while x.shape[1] > 1:
        x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0)))
        x = x[:, ::2] + x[:, 1::2]
    return x[:, 0]
