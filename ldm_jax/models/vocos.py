"""Vocos (Siuzdak, arXiv 2306.00814): log-mel spectrograms to the short-time spectrum of a wave, frame by frame.

Parameter paths mirror the keys of the authors' code (github.com/gemelo-ai/vocos), without `backbone` and `head`.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from ldm_jax.audio.griffin_lim import griffin_lim, magnitude_from_log_mel
from ldm_jax.audio.log_mel import LogMelSettings
from ldm_jax.audio.stft import istft, like
from ldm_jax.models.layers import Conv, Dense, Dtype, LayerNorm, upcast

TAPS = 7  # of every convolution
LOUDEST = 100.0  # magnitude of a bin, at which the authors cut off
BAND_STEPS = 10  # that bring magnitudes to their bands, within the network
_EPSILON = 1e-6  # of every layer norm
_KERNEL = nn.initializers.truncated_normal(0.02)


class DepthwiseConv(nn.Module):
    """A convolution along time of each channel by itself: `kernel` (taps, 1, channels) and `bias` (channels).

    As a sum over the taps, which every backend fuses; XLA's grouped convolution is slow on a CPU.

    Attributes:
        taps: an odd number.
        dtype: compute type.
    """

    taps: int = TAPS
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch time c"]) -> Float[Array, "batch time c"]:
        """The same shape: beyond its ends a clip is 0."""
        kernel = self.param("kernel", _KERNEL, (self.taps, 1, x.shape[-1]))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        padded = jnp.pad(x, ((0, 0), (self.taps // 2, self.taps // 2), (0, 0)))
        total = jnp.broadcast_to(bias[None, None, :], x.shape)
        for tap in range(self.taps):
            total = total + padded[:, tap : tap + x.shape[1]] * kernel[tap][None]
        return total


class ConvNeXtBlock(nn.Module):
    """x + gamma pwconv2(gelu(pwconv1(norm(dwconv(x))))), of Liu et al., arXiv 2201.03545, along time.

    Attributes:
        hidden: width between the two pointwise convolutions.
        scale: what `gamma` begins with.
        dtype: compute type.
    """

    hidden: int
    scale: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch time c"]) -> Float[Array, "batch time c"]:
        """The same shape."""
        width = x.shape[-1]
        gamma = self.param("gamma", nn.initializers.constant(self.scale), (width,))
        pointwise = functools.partial(Dense, kernel_init=_KERNEL, dtype=self.dtype)
        h = DepthwiseConv(dtype=self.dtype, name="dwconv")(x)
        h = LayerNorm(_EPSILON, dtype=self.dtype, name="norm")(h)
        h = nn.gelu(pointwise(self.hidden, name="pwconv1")(h), approximate=False)
        h = pointwise(width, name="pwconv2")(h)
        return x + gamma.astype(h.dtype)[None, None, :] * h


class Vocos(nn.Module):
    """ConvNeXt blocks at the rate of the spectrogram, then an inverse transform of what they say of each frame.

    The published network says a log magnitude and a phase of every bin. Phases are learnt against discriminators, in
    many steps. With `griffin_lim` it says magnitudes alone: by what factor each bin differs from its bands spread
    evenly. What comes of that is brought to the bands that were given, and that many iterations of Griffin-Lim find the
    phases. It is then a regression of what the bands hide, and a network that has learnt nothing sounds like
    Griffin-Lim.

    Attributes:
        mel_channels: of the spectrogram.
        features: width of the network.
        hidden: width inside its blocks.
        layers: blocks.
        griffin_lim: iterations; 0 is the published network.
        sample_rate: of waves, in Hz; this and what follows is what spectrograms are made by.
        n_fft: length of window and transform.
        hop: samples from frame to frame.
        fmin: lower end of the lowest band in Hz.
        fmax: upper end of the highest band in Hz.
        dtype: compute type; transforms are float32.
    """

    mel_channels: int
    features: int
    hidden: int
    layers: int
    griffin_lim: int = 0
    sample_rate: int = 16_000
    n_fft: int = 1024
    hop: int = 160
    fmin: float = 0.0
    fmax: float = 8_000.0
    dtype: Dtype = jnp.float32

    @property
    def mel(self) -> LogMelSettings:
        """What its spectrograms are made by."""
        return LogMelSettings(
            sample_rate=self.sample_rate,
            n_fft=self.n_fft,
            hop=self.hop,
            num_mels=self.mel_channels,
            fmin=self.fmin,
            fmax=self.fmax,
        )

    def __call__(
        self, mel: Float[Array, "batch time {self.mel_channels}"]
    ) -> Float[Array, "batch samples"]:
        """Waves of `hop` samples a frame of natural-log mel spectrograms."""
        frames: Any = {"n_fft": self.n_fft, "hop": self.hop, "pad": self.mel.pad}
        wave: Any
        if self.griffin_lim:
            wave = griffin_lim(self.magnitude(mel), **frames, iterations=self.griffin_lim)
            return wave
        logarithm, phase = jnp.split(upcast(self.head(mel)), 2, axis=-1)
        magnitude = jnp.minimum(jnp.exp(logarithm), LOUDEST)
        spectrum = jax.lax.complex(magnitude * jnp.cos(phase), magnitude * jnp.sin(phase))
        wave = istft(spectrum, **frames)
        return wave

    def magnitude(
        self, mel: Float[Array, "batch time {self.mel_channels}"]
    ) -> Float[Array, "batch time bins"]:
        """Magnitudes whose bands are nearly exp(mel), of a network with `griffin_lim`."""
        bands = upcast(mel)
        first = jnp.exp(spread(bands, self.mel) + upcast(self.head(mel)))
        made: Any = magnitude_from_log_mel(bands, self.mel, first=first, steps=BAND_STEPS)
        return made

    @nn.compact
    def head(
        self, mel: Float[Array, "batch time {self.mel_channels}"]
    ) -> Float[Array, "batch time outputs"]:
        """What is said of each frame: n_fft / 2 + 1 log magnitudes, and as many phases without `griffin_lim`."""
        norm = functools.partial(LayerNorm, _EPSILON, dtype=self.dtype)
        x = Conv(self.features, (TAPS,), kernel_init=_KERNEL, dtype=self.dtype, name="embed")(mel)
        x = norm(name="norm")(x)
        for layer in range(self.layers):
            block = ConvNeXtBlock(
                self.hidden, 1 / self.layers, self.dtype, name=f"convnext_{layer}"
            )
            x = block(x)
        x = norm(name="final_layer_norm")(x)
        bins = self.n_fft // 2 + 1
        if self.griffin_lim:
            zeros = nn.initializers.zeros
            return Dense(bins, kernel_init=zeros, dtype=self.dtype, name="out")(x)
        return Dense(2 * bins, kernel_init=_KERNEL, dtype=self.dtype, name="out")(x)


def spread(
    log_mel: Float[Array, "*batch time mels"], settings: LogMelSettings
) -> Float[Array, "*batch time bins"]:
    """Log magnitudes of bins, linear between those of the bands, each as if its band were flat.

    Right for a flat spectrum. A bin that no band reaches has the nearest one's.
    """
    weights, width = _interpolation(settings)
    level = log_mel - like(log_mel, np.log(width))
    with jax.default_matmul_precision("highest"):
        return level @ jnp.asarray(weights, log_mel.dtype)


@functools.cache
def _interpolation(settings: LogMelSettings) -> tuple[np.ndarray, np.ndarray]:
    """(share of each band in each bin (mels, bins), sum of each band's filter (mels,), 1 of an empty one)."""
    bank = settings.bank
    total, width = bank.sum(1), bank.sum(0)
    heard = np.flatnonzero(total > 0)
    nearest = heard[np.abs(np.arange(len(bank))[:, None] - heard).argmin(1)]
    rows = np.where(total[:, None] > 0, bank, bank[nearest])
    return (rows / rows.sum(1, keepdims=True)).T, np.where(width > 0, width, 1.0)
