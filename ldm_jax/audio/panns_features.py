"""What PANNs hear: log-mel spectrograms of whole clips at 8, 16 or 32 kHz.

The function takes NumPy arrays and JAX arrays, these inside a compiled program if need be, and
differentiably; it computes in the wave's type, at least float32. It follows torchlibrosa's
`Spectrogram` and `LogmelFilterBank`, which the published networks begin with.
"""

import dataclasses

import numpy as np
from jaxtyping import Array, Float

from ldm_jax.audio.decibel_mel import decibel_mel
from ldm_jax.audio.stft import frame_count

MELS = 64
_FMIN = 50.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class PannsSettings:
    """What a spectrogram is made by: windows of 32 ms every 10 ms, 64 bands from 50 Hz on.

    Attributes:
        sample_rate: of the wave, in Hz.
        fmax: upper end of the highest band in Hz.
    """

    sample_rate: int
    fmax: float

    @property
    def n_fft(self) -> int:
        """Length of window (periodic Hann) and Fourier transform."""
        return self.sample_rate * 32 // 1000

    @property
    def hop(self) -> int:
        """Samples from frame to frame."""
        return self.sample_rate // 100

    @property
    def bank_shape(self) -> tuple[int, int]:
        """Frequencies and bands of the filter bank."""
        return self.n_fft // 2 + 1, MELS

    def frames(self, samples: int) -> int:
        """How many frames a clip of so many samples has: 1001 for 10 s."""
        return frame_count(samples, n_fft=self.n_fft, hop=self.hop, pad=self.n_fft // 2)


# By sample rate, as the published networks were trained and audioldm_eval runs them.
PANNS = {
    8_000: PannsSettings(sample_rate=8_000, fmax=4_000.0),
    16_000: PannsSettings(sample_rate=16_000, fmax=8_000.0),
    32_000: PannsSettings(sample_rate=32_000, fmax=14_000.0),
}
# frechet-audio-distance runs the network of 32 kHz on a wider bank than it was trained with.
PANNS_32K_WIDE = dataclasses.replace(PANNS[32_000], fmax=16_000.0)


def panns_log_mel(
    wave: Float[np.ndarray | Array, "*batch samples"], settings: PannsSettings
) -> Float[np.ndarray | Array, "*batch frames 64"]:
    """10 log10 max(1e-10, sum_k filter_k |STFT_k|^2), the clip reflected at its ends.

    Args:
        wave: mono clips at `settings.sample_rate`.
        settings: one of `PANNS`, or `PANNS_32K_WIDE`.

    Raises:
        ValueError: not more samples than are reflected, half a window. (The network needs 32 frames.)
    """
    return decibel_mel(
        wave,
        sample_rate=settings.sample_rate,
        n_fft=settings.n_fft,
        hop=settings.hop,
        num_mels=MELS,
        fmin=_FMIN,
        fmax=settings.fmax,
    )
