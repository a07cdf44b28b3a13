"""The discriminators of HiFi-GAN (Kong et al., arXiv 2010.05646, section 2.3): by periods and by scales of a wave."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ldm_jax.models.layers import Dtype
from ldm_jax.models.normed_convolution import NormedConv

SLOPE = 0.1  # of every leaky ReLU
_PERIOD_TAPS, _PERIOD_STRIDES = 5, (3, 3, 3, 3, 1)
_SCALE_TAPS, _SCALE_STRIDES, _SCALE_GROUPS = (
    (15, 41, 41, 41, 41, 41, 5),
    (1, 2, 2, 4, 4, 1, 1),
    (1, 4, 16, 16, 16, 16, 1),
)
_LAST_TAPS = 3


class Verdict(NamedTuple):
    """What one discriminator says of waves.

    Attributes:
        scores: high for what sounds real.
        features: of every layer; the last are the scores again, as in the published code.
    """

    scores: Float[Array, "batch places"]
    features: list[Float[Array, "batch *places c"]]


class PeriodDiscriminator(nn.Module):
    """Hears every period-th sample together: the wave as (time / period, period), convolved along the first axis.

    Attributes:
        period: in samples.
        widths: of the five layers before the scores.
        dtype: compute type.
    """

    period: int
    widths: Sequence[int]
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, wave: Float[Array, "batch samples"]) -> Verdict:
        """Waves that the period does not divide are extended by their reflection."""
        batch, samples = wave.shape
        missing = -samples % self.period
        x = jnp.pad(wave, ((0, 0), (0, missing)), mode="reflect") if missing else wave
        x = x.reshape(batch, -1, self.period).transpose(0, 2, 1)
        x = x.reshape(batch * self.period, -1, 1)  # phases are rows that share their kernels
        layers = zip(self.widths, _PERIOD_STRIDES, strict=True)
        features = []
        for i, (width, stride) in enumerate(layers):
            conv = NormedConv(width, _PERIOD_TAPS, stride, dtype=self.dtype, name=f"convs_{i}")
            x = nn.leaky_relu(conv(x), SLOPE)
            features.append(x.reshape(batch, self.period, *x.shape[1:]))
        x = NormedConv(1, _LAST_TAPS, dtype=self.dtype, name="conv_post")(x)
        features.append(x.reshape(batch, self.period, *x.shape[1:]))
        return Verdict(x.reshape(batch, -1), features)


class ScaleDiscriminator(nn.Module):
    """Hears the wave as it is, by long grouped convolutions.

    Attributes:
        widths: of the seven layers before the scores; those of groups divide by 4, 16, 16, 16, 16.
        spectral: spectral norm, else weight norm.
        dtype: compute type.
    """

    widths: Sequence[int]
    spectral: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, wave: Float[Array, "batch samples"]) -> Verdict:
        """Scores at a 64th of the rate."""
        conv = partial(NormedConv, spectral=self.spectral, dtype=self.dtype)
        x, features = wave[..., None], []
        layers = zip(self.widths, _SCALE_TAPS, _SCALE_STRIDES, _SCALE_GROUPS, strict=True)
        for i, layer in enumerate(layers):
            x = nn.leaky_relu(conv(*layer, name=f"convs_{i}")(x), SLOPE)
            features.append(x)
        x = conv(1, _LAST_TAPS, name="conv_post")(x)
        return Verdict(x[..., 0], [*features, x])


class WaveDiscriminators(nn.Module):
    """All of them: one a period, and one a scale, each scale at half the rate of the one before.

    Parameter paths mirror the keys of the published code, `mpd.discriminators.0.convs.0` and so on. Its first scale
    has spectral norm, everything else weight norm.

    Attributes:
        periods: in samples; () goes without.
        scales: how many; 0 goes without.
        period_widths: of the layers of each.
        scale_widths: likewise.
        dtype: compute type.
    """

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    scales: int = 3
    period_widths: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    scale_widths: tuple[int, ...] = (128, 128, 256, 512, 1024, 1024, 1024)
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, wave: Float[Array, "batch samples"]) -> list[Verdict]:
        """First of the periods, then of the scales."""
        verdicts = []
        for i, period in enumerate(self.periods):
            name = f"mpd_{i}"
            verdicts.append(
                PeriodDiscriminator(period, self.period_widths, self.dtype, name=name)(wave)
            )
        for i in range(self.scales):
            if i:
                wave = halved(wave)
            hear = ScaleDiscriminator(self.scale_widths, i == 0, self.dtype, name=f"msd_{i}")
            verdicts.append(hear(wave))
        return verdicts

    def example(self) -> tuple[Float[Array, "1 samples"]]:
        """A small input."""
        return (jnp.zeros((1, 2 * max((*self.periods, 64)))),)


def halved(wave: Float[Array, "batch samples"]) -> Float[Array, "batch half"]:
    """Means of 4 samples, one every 2, with two zeros at either end: samples // 2 + 1 of them."""
    padded = jnp.pad(wave, ((0, 0), (2, 2)))
    return nn.avg_pool(padded[..., None], (4,), (2,))[..., 0]
