"""musicnn (Pons and Serra, arXiv 1909.06654): 3 s of a log-mel spectrogram in, tags of music out.

Filters that see much of the frequency axis (timbre) and long ones that see a single band (rhythm), each reduced to
its strongest band; three convolutions over time with residuals; maximum and mean over time of all of these; two
dense layers. The network is only evaluated here: batch norms use their running statistics, dropout is off.
Parameter paths are the published names.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ldm_jax.models.layers import Conv, Dense, Dtype, upcast

FRAMES = 187  # of the patches that the published networks were trained on
_TIMBRE = (0.4, 0.7)  # of the bands, height of a filter
_TIMBRE_FRAMES = 7
_RHYTHM_FRAMES = (128, 64, 32)
_MIDDLE_FRAMES = 7
_NORM_EPSILON = 1e-3


class MusicnnOutput(NamedTuple):
    """What metrics read, in at least float32.

    Attributes:
        embedding: of the layer before the tags, behind its batch norm.
        logits: of the tags, before the sigmoid.
    """

    embedding: Float[Array, "batch hidden"]
    logits: Float[Array, "batch tags"]


class BatchNorm(nn.Module):
    """gamma (x - moving_mean) / sqrt(moving_variance + 1e-3) + beta over the last axis, in at least float32."""

    @nn.compact
    def __call__(self, x: Float[Array, "*batch c"]) -> Float[Array, "*batch c"]:
        """In the type of `x`."""
        ones, zeros = nn.initializers.ones, nn.initializers.zeros
        inits = {"gamma": ones, "beta": zeros, "moving_mean": zeros, "moving_variance": ones}
        shape = (1,) * (x.ndim - 1) + x.shape[-1:]
        gamma, beta, mean, variance = (
            upcast(self.param(name, init, x.shape[-1:])).reshape(shape)
            for name, init in inits.items()
        )
        gain = gamma / jnp.sqrt(variance + _NORM_EPSILON)
        return ((upcast(x) - mean) * gain + beta).astype(x.dtype)


class Musicnn(nn.Module):
    """The network; the defaults are `MTT_musicnn` and `MSD_musicnn`.

    Attributes:
        mels: bands of the spectrogram.
        timbre: filters of each of the two heights.
        rhythm: filters of each of the three lengths.
        middle: channels of the convolutions over time.
        hidden: width of the embedding.
        num_tags: of the classifier.
        dtype: compute type.
    """

    mels: int = 96
    timbre: int = 204
    rhythm: int = 51
    middle: int = 64
    hidden: int = 200
    num_tags: int = 50
    dtype: Dtype = jnp.float32

    def example(self) -> tuple[Any, ...]:
        """Small inputs."""
        return (jnp.zeros((1, 1, self.mels)),)

    @nn.compact
    def __call__(self, log_mel: Float[Array, "batch frames mels"]) -> MusicnnOutput:
        """Embedding and logits of patches.

        Args:
            log_mel: spectrograms of `audio.musicnn_features`, of any number of frames.

        Raises:
            ValueError: another number of bands.
        """
        if log_mel.shape[-1] != self.mels or not log_mel.shape[1]:
            raise ValueError(
                f"log_mel is {log_mel.shape}; it should be (batch, frames, {self.mels})"
            )
        x = BatchNorm(name="batch_normalization")(log_mel[..., None].astype(self.dtype))
        filters = [(self.timbre, (_TIMBRE_FRAMES, int(part * self.mels))) for part in _TIMBRE]
        filters += [(self.rhythm, (frames, 1)) for frames in _RHYTHM_FRAMES]
        bands = [
            self._layer(i, x, features, window).max(axis=2)
            for i, (features, window) in enumerate(filters)
        ]
        # The published code turns channels into a frequency axis that a filter covers whole: channels all along.
        layers = [jnp.concatenate(bands, axis=-1)]
        for i in range(len(filters), len(filters) + 3):
            new = self._layer(i, layers[-1], self.middle, (_MIDDLE_FRAMES,))
            layers.append(new + layers[-1] if len(layers) > 1 else new)
        every = jnp.concatenate(layers, axis=-1)
        pooled = jnp.stack([every.max(axis=1), upcast(every).mean(axis=1).astype(every.dtype)], -1)
        x = BatchNorm(name="batch_normalization_9")(pooled.reshape(len(pooled), -1))
        x = nn.relu(Dense(self.hidden, dtype=self.dtype, name="dense")(x))
        embedding = BatchNorm(name="batch_normalization_10")(x)
        logits = Dense(self.num_tags, dtype=self.dtype, name="dense_1")(embedding)
        return MusicnnOutput(upcast(embedding), upcast(logits))

    def _layer(
        self, i: int, x: Float[Array, "batch time *space c"], features: int, window: tuple[int, ...]
    ) -> Float[Array, "batch time *out_space features"]:
        """Norm of the relu of the i-th convolution: as many frames as before, only bands that a filter covers."""
        over = window[0] - 1
        padding = [(over // 2, over - over // 2), *[(0, 0)] * (len(window) - 1)]
        name = f"conv2d_{i}" if i else "conv2d"
        x = nn.relu(Conv(features, window, padding=padding, dtype=self.dtype, name=name)(x))
        return BatchNorm(name=f"batch_normalization_{i + 1}")(x)
