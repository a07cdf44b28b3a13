"""The log-mel spectrograms that the autoencoders, and so the whole of AudioLDM 2, work on.

ln max(1e-5, Slaney-mel of the magnitudes): the power is 1, and there is no normalisation. The published
training code cuts frames so that there are samples // hop of them (`MEL_16K`, `MEL_48K`); for editing and
style transfer it uses another program whose frames are centred on multiples of the hop, one more of them
(`CENTRED_16K`).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ldm_jax.audio.bands import Piece, band_energies, pieces, stacked
from ldm_jax.audio.mel import mel_filters
from ldm_jax.audio.stft import as_float, frame_count, frames, magnitude, namespace, reflect


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogMelSettings:
    """What a log-mel spectrogram is made by.

    Attributes:
        sample_rate: of the wave, in Hz.
        n_fft: length of window (periodic Hann) and Fourier transform.
        hop: samples from frame to frame.
        num_mels: bands.
        fmin: lower end of the lowest band in Hz.
        fmax: upper end of the highest band in Hz.
        centred: frames are centred on the multiples of the hop; else they tile the clip.
        floor: smallest mel magnitude, before the logarithm.
    """

    sample_rate: int
    n_fft: int
    hop: int
    num_mels: int
    fmin: float
    fmax: float
    centred: bool = False
    floor: float = 1e-5

    @property
    def pad(self) -> int:
        """Samples reflected at either end."""
        return self.n_fft // 2 if self.centred else (self.n_fft - self.hop) // 2

    def frames(self, samples: int) -> int:
        """How many frames a clip of so many samples has."""
        return frame_count(samples, n_fft=self.n_fft, hop=self.hop, pad=self.pad)

    @property
    def bank(self) -> Float[np.ndarray, "bins mels"]:
        """The filter bank, float64."""
        return mel_filters(
            sample_rate=self.sample_rate,
            n_fft=self.n_fft,
            num_mels=self.num_mels,
            fmin=self.fmin,
            fmax=self.fmax,
        )


MEL_16K = LogMelSettings(
    sample_rate=16_000, n_fft=1024, hop=160, num_mels=64, fmin=0.0, fmax=8_000.0
)
MEL_48K = LogMelSettings(
    sample_rate=48_000, n_fft=2048, hop=480, num_mels=256, fmin=20.0, fmax=24_000.0
)
CENTRED_16K = dataclasses.replace(MEL_16K, centred=True)


def log_mel(
    wave: Float[np.ndarray | Array, "*batch samples"], settings: LogMelSettings = MEL_16K
) -> Float[np.ndarray | Array, "*batch frames mels"]:
    """Ln max(floor, sum_k filter_k |STFT_k|), in float32, or in float64 for such a wave.

    Raises:
        ValueError: a clip with not more samples than are reflected (432 at 16 kHz, 784 at 48 kHz,
            512 centred).
    """
    wave = as_float(wave)
    if namespace(wave) is jnp:
        strength = magnitude(wave, n_fft=settings.n_fft, hop=settings.hop, pad=settings.pad)
        with jax.default_matmul_precision("highest"):  # a TPU would multiply in bfloat16
            mel = strength @ jnp.asarray(settings.bank, strength.dtype)
        return jnp.log(jnp.maximum(mel, settings.floor))
    parts = _pieces(settings, wave.dtype)
    padded = reflect(wave, settings.pad)
    clips = [
        band_energies(view, parts, power=1, n_fft=settings.n_fft)
        for view in frames(
            padded.reshape(-1, padded.shape[-1]), length=settings.n_fft, hop=settings.hop
        )
    ]
    mel = stacked(clips)
    np.maximum(mel, settings.floor, out=mel)
    np.log(mel, out=mel)
    return mel.reshape(*wave.shape[:-1], *mel.shape[1:])


def fit_frames(
    mel: Float[np.ndarray | Array, "*batch frames mels"], count: int
) -> Float[np.ndarray | Array, "*batch {count} mels"]:
    """The first `count` frames, with frames of 0 after the last if there are fewer.

    0 is a loud band, not silence, which is ln 1e-5 = -11.51: so the published code does, and the
    published networks have seen it.
    """
    missing = max(0, count - mel.shape[-2])
    if not missing:
        return mel[..., :count, :]
    edges = [(0, 0)] * (mel.ndim - 2) + [(0, missing), (0, 0)]
    return namespace(mel).pad(mel[..., :count, :], edges)


@functools.cache
def _pieces(settings: LogMelSettings, dtype: np.dtype) -> tuple[Piece, ...]:
    return pieces(settings.bank, power=1, dtype=dtype)
