"""VGGish (Hershey et al., arXiv 1609.09430): 0.96 s of sound in, a vector out; FAD is computed from these.

Parameter paths mirror torchvggish's keys. As in TensorFlow's original and in every tool that computes
FAD, there is no activation behind the last layer, where torchvggish has one.
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ldm_jax.models.layers import Dtype, upcast
from ldm_jax.models.prepared_layers import (
    Affine,
    Conv,
    Dense,
    affine,
    at_least_two,
    convolved,
    prepared_conv,
)

# Of each stage, the places of its convolutions in the published sequence.
PLACES = ((0,), (3,), (6, 8), (11, 13))
DENSE_PLACES = (0, 2, 4)


class PreparedVGGish(NamedTuple):
    """The parameters as evaluation uses them, see `VGGish.prepare`.

    Attributes:
        stages: filters and biases of each stage's convolutions.
        dense: matrices and biases.
    """

    stages: tuple[tuple[Affine, ...], ...]
    dense: tuple[Affine, ...]


class VGGish(nn.Module):
    """The network.

    Attributes:
        frames: of an example, a multiple of 16.
        mels: bands of an example, likewise.
        features: channels of the four stages.
        hidden: width of the two layers before the last.
        out_features: of the embedding.
        dtype: compute type.
    """

    frames: int = 96
    mels: int = 64
    features: tuple[int, int, int, int] = (64, 128, 256, 512)
    hidden: int = 4096
    out_features: int = 128
    dtype: Dtype = jnp.float32

    @nn.compact
    def prepare(self) -> PreparedVGGish:
        """What of the network does not depend on its input: filters, transformed. Worth keeping between calls."""
        stages, width, last = [], self.mels, 1
        for features, places in zip(self.features, PLACES, strict=True):
            layers = []
            for place in places:
                layer = Conv(features, name=f"features_{place}")(last)
                layers.append(prepared_conv(layer, width=width, dtype=self.dtype))
                last = features
            stages.append(tuple(layers))
            width //= 2
        last *= self.frames // 16 * width
        dense = []
        widths = (self.hidden, self.hidden, self.out_features)
        for features, place in zip(widths, DENSE_PLACES, strict=True):
            dense.append(Dense(features, self.dtype, name=f"embeddings_{place}")(last))
            last = features
        return PreparedVGGish(tuple(stages), tuple(dense))

    def __call__(
        self,
        examples: Float[Array, "batch frames mels"],
        prepared: PreparedVGGish | None = None,
    ) -> Float[Array, "batch {self.out_features}"]:
        """Embeddings, in at least float32.

        Args:
            examples: of `audio.vggish_features`.
            prepared: what `prepare` gives; then no parameters are read.

        Raises:
            ValueError: examples of another shape.
        """
        if examples.shape[1:] != (self.frames, self.mels):
            raise ValueError(
                f"examples are {examples.shape}; they should be (batch, {self.frames}, {self.mels})"
            )
        prepared = self.prepare() if prepared is None else prepared
        x = examples[..., None].astype(self.dtype)
        for layers in prepared.stages:
            for layer in layers:
                x = convolved(x, layer)
            x = _halved(x)
        x = at_least_two(x.reshape(len(x), -1))
        for layer in prepared.dense[:-1]:
            x = nn.relu(affine(x, layer))
        return upcast(affine(x, prepared.dense[-1])[: len(examples)])


def _halved(x: Float[Array, "batch time width c"]) -> Float[Array, "batch half_time half_width c"]:
    """The largest of 2 x 2."""
    left, right = x[:, :, ::2], x[:, :, 1::2]
    x = jnp.maximum(left, right)
    return jnp.maximum(x[:, ::2], x[:, 1::2])


def quantised(
    embeddings: Float[Array, "batch 128"],
    eigenvectors: Float[Array, "128 128"],
    means: Float[Array, " 128"],
) -> Float[Array, "batch 128"]:
    """AudioSet's released form, 0 to 255: round((clip(E (x - mu), -2, 2) + 2) 255 / 4). Never used for FAD.

    Args:
        embeddings: behind a relu, in the published order.
        eigenvectors: E, "pproc.pca_eigen_vectors" of the published file.
        means: mu, "pproc.pca_means".
    """
    turned = (embeddings - means[None, :]) @ eigenvectors.T
    return jnp.round((jnp.clip(turned, -2.0, 2.0) + 2.0) * (255.0 / 4.0))
