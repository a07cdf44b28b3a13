"""What PaSST hears: log-mel spectrograms at 32 kHz, of 100 frames a second.

The function takes NumPy and JAX arrays and computes in the wave's type, at least float32. It follows hear21passt's
`AugmentMelSTFT` in evaluation, where the filter bank ends at 15 kHz.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ldm_jax.audio.bands import Piece, band_energies, pieces, stacked
from ldm_jax.audio.kaldi import mel_triangles
from ldm_jax.audio.stft import as_float, frames, hann, like, namespace, reflect

SAMPLE_RATE = 32_000
SAMPLES = 320_000  # 10 s, as the network was trained
WINDOW, N_FFT, HOP = 800, 1024, 320
MELS = 128
PREEMPHASIS = 0.97
_FLOOR, _SHIFT, _SCALE = 1e-5, 4.5, 5.0
_HIGH_HZ = 15_000.0


def passt_log_mel(
    wave: Float[np.ndarray | Array, "*batch samples"],
) -> Float[np.ndarray | Array, "*batch frames 128"]:
    """(ln(sum_k filter_k |FFT(frame Hann)_k|^2 + 1e-5) + 4.5) / 5 of y_n = x_(n+1) - 0.97 x_n.

    Frames of 25 ms (symmetric Hann) every 10 ms, y reflected at its ends: 1000 frames for 10 s.

    Args:
        wave: mono clips at 32 kHz, full scale 1.

    Raises:
        ValueError: fewer than 402 samples.
    """
    wave = as_float(wave)
    sharp = reflect(wave[..., 1:] - PREEMPHASIS * wave[..., :-1], WINDOW // 2)
    if namespace(wave) is jnp:
        parts = frames(sharp, length=WINDOW, hop=HOP)
        spectrum = jnp.fft.rfft(parts * like(parts, hann(WINDOW, periodic=False)), n=N_FFT)
        power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
        with jax.default_matmul_precision("highest"):
            mel = power @ jnp.asarray(_bank(), power.dtype)
        return (jnp.log(mel + _FLOOR) + _SHIFT) / _SCALE
    parts = frames(sharp.reshape(-1, sharp.shape[-1]), length=WINDOW, hop=HOP)
    bank = _pieces(sharp.dtype)
    mel = stacked(
        [band_energies(clip, bank, power=2, n_fft=N_FFT, periodic=False) for clip in parts]
    )
    mel = (np.log(mel + sharp.dtype.type(_FLOOR)) + _SHIFT) / _SCALE
    return mel.reshape(*wave.shape[:-1], *mel.shape[1:])


def _bank() -> Float[np.ndarray, "bins 128"]:
    return mel_triangles(
        bins=MELS, fft_size=N_FFT, sample_rate=SAMPLE_RATE, low_hz=0.0, high_hz=_HIGH_HZ
    )


@functools.cache
def _pieces(dtype: np.dtype) -> tuple[Piece, ...]:
    return pieces(_bank(), power=2, dtype=dtype)
