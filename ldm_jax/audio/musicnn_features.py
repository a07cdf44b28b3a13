"""What musicnn hears: log-mel spectrograms at 16 kHz, in patches of 187 frames (3 s).

The function takes NumPy and JAX arrays and computes in the wave's type, at least float32. The spectrogram is that of
librosa before 0.9, with which the networks were trained: ends reflected, where it has zeros now. The package
rounds the mel bands to 16 bits, in which 10000 x overflows above x = 6.55, a loud tone; nothing is rounded here.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ldm_jax.audio.bands import Piece, band_energies, pieces, stacked
from ldm_jax.audio.mel import mel_filters
from ldm_jax.audio.stft import as_float, frames, namespace, reflect, windowed_stft

SAMPLE_RATE = 16_000
N_FFT, HOP = 512, 256
MELS = 96
PATCH_FRAMES = 187
MIN_SAMPLES = N_FFT // 2 + 1  # of a clip whose ends can be reflected

_GAIN = 10_000.0


def musicnn_log_mel(
    wave: Float[np.ndarray | Array, "*batch samples"],
) -> Float[np.ndarray | Array, "*batch frames 96"]:
    """log10(10000 sum_k filter_k |FFT(frame Hann)_k|^2 + 1) of frames of 32 ms every 16 ms.

    Frames are centred at multiples of the hop: samples // 256 + 1 of them.

    Args:
        wave: mono clips at 16 kHz, full scale 1.

    Raises:
        ValueError: fewer than `MIN_SAMPLES` (257) samples.
    """
    wave = as_float(wave)
    padded = reflect(wave, N_FFT // 2)
    if namespace(wave) is jnp:
        spectrum = windowed_stft(padded, n_fft=N_FFT, hop=HOP)
        power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
        with jax.default_matmul_precision("highest"):  # a TPU would multiply in bfloat16
            mel = power @ jnp.asarray(_bank(), power.dtype)
        return jnp.log10(_GAIN * mel + 1)
    parts = frames(padded.reshape(-1, padded.shape[-1]), length=N_FFT, hop=HOP)
    bank = _pieces(padded.dtype)
    mel = stacked([band_energies(clip, bank, power=2, n_fft=N_FFT) for clip in parts])
    mel = np.log10(padded.dtype.type(_GAIN) * mel + 1)
    return mel.reshape(*wave.shape[:-1], *mel.shape[1:])


def musicnn_patches(
    wave: Float[np.ndarray | Array, "*batch samples"],
) -> Float[np.ndarray | Array, "*batch patches 187 96"]:
    """The log-mel spectrogram in patches of `PATCH_FRAMES` end to end; frames behind the last whole one are dropped.

    A clip of less than a patch is filled up with silence, which is 0, to a single one; one of fewer than
    `MIN_SAMPLES` has none.
    """
    if wave.shape[-1] < MIN_SAMPLES:
        none = (*wave.shape[:-1], 0, PATCH_FRAMES, MELS)
        return namespace(wave).zeros(none, as_float(wave).dtype)
    log_mel = musicnn_log_mel(wave)
    batch, count = log_mel.shape[:-2], log_mel.shape[-2]
    if count < PATCH_FRAMES:
        fill = [(0, 0)] * len(batch) + [(0, PATCH_FRAMES - count), (0, 0)]
        return namespace(log_mel).pad(log_mel, fill)[..., None, :, :]
    whole = count // PATCH_FRAMES
    return log_mel[..., : whole * PATCH_FRAMES, :].reshape(*batch, whole, PATCH_FRAMES, MELS)


def _bank() -> Float[np.ndarray, "bins 96"]:
    return mel_filters(
        sample_rate=SAMPLE_RATE, n_fft=N_FFT, num_mels=MELS, fmin=0.0, fmax=SAMPLE_RATE / 2
    )


@functools.cache
def _pieces(dtype: np.dtype) -> tuple[Piece, ...]:
    return pieces(_bank(), power=2, dtype=dtype)
