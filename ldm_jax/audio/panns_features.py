"""What PANNs hear: log-mel spectrograms of whole clips at 8, 16 or 32 kHz.

The function takes NumPy arrays and JAX arrays, these inside a compiled program if need be, and
differentiably; it computes in the wave's type, at least float32. It follows torchlibrosa's
`Spectrogram` and `LogmelFilterBank`, which the published networks begin with.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ldm_jax.audio.bands import Piece, band_energies, pieces, stacked
from ldm_jax.audio.mel import mel_filters
from ldm_jax.audio.stft import as_float, frame_count, frames, hann, like, namespace, reflect

MELS = 64
_FMIN = 50.0
_FLOOR = 1e-10


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

    def frames(self, samples: int) -> int:
        """How many frames a clip of so many samples has: 1001 for 10 s."""
        return frame_count(samples, n_fft=self.n_fft, hop=self.hop, pad=self.n_fft // 2)

    @property
    def bank(self) -> Float[np.ndarray, "bins 64"]:
        """The filter bank, Slaney's scale and norm, float64."""
        return mel_filters(
            sample_rate=self.sample_rate,
            n_fft=self.n_fft,
            num_mels=MELS,
            fmin=_FMIN,
            fmax=self.fmax,
        )


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
    wave = as_float(wave)
    padded = reflect(wave, settings.n_fft // 2)
    if namespace(wave) is jnp:
        parts = frames(padded, length=settings.n_fft, hop=settings.hop)
        spectrum = jnp.fft.rfft(parts * like(parts, hann(settings.n_fft)))
        power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
        with jax.default_matmul_precision("highest"):  # a TPU would multiply in bfloat16
            mel = power @ jnp.asarray(settings.bank, power.dtype)
        return 10 * jnp.log10(jnp.maximum(mel, _FLOOR))
    bank = _pieces(settings, wave.dtype)
    clips = frames(padded.reshape(-1, padded.shape[-1]), length=settings.n_fft, hop=settings.hop)
    mel = stacked([band_energies(clip, bank, power=2, n_fft=settings.n_fft) for clip in clips])
    np.maximum(mel, _FLOOR, out=mel)
    np.log(mel, out=mel)  # float32's log10 is many times slower
    mel *= 10 / np.log(10)
    np.maximum(mel, 10 * np.log10(_FLOOR), out=mel)
    return mel.reshape(*wave.shape[:-1], *mel.shape[1:])


@functools.cache
def _pieces(settings: PannsSettings, dtype: np.dtype) -> tuple[Piece, ...]:
    return pieces(settings.bank, power=2, dtype=dtype)
