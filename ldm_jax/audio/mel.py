"""Mel filter banks: triangles that sum a spectrum into bands as wide as hearing resolves them."""

import functools

import numpy as np
from jaxtyping import Float


@functools.cache
def mel_filters(
    *,
    sample_rate: int,
    n_fft: int,
    num_mels: int,
    fmin: float,
    fmax: float,
    htk: bool = False,
    normalise: bool = True,
) -> Float[np.ndarray, "bins mels"]:
    """Weights of the n_fft / 2 + 1 bins in each band: `spectrum @ weights` is the mel spectrum.

    The banks are librosa's, the definition that all published checkpoints go back to. Each is built
    once, and librosa, whose import takes seconds, only for the first.

    Args:
        sample_rate: in Hz.
        n_fft: length of the Fourier transform.
        num_mels: bands.
        fmin: lower end of the lowest band in Hz.
        fmax: upper end of the highest band in Hz.
        htk: the mel scale 2595 log10(1 + f / 700), else Slaney's, which is linear up to 1 kHz.
        normalise: each triangle has area 1 over Hz, else height 1.

    Returns:
        float64, not to be written to.
    """
    import librosa

    bank = librosa.filters.mel(
        sr=sample_rate,
        n_fft=n_fft,
        n_mels=num_mels,
        fmin=fmin,
        fmax=fmax,
        htk=htk,
        norm="slaney" if normalise else None,
        dtype=np.float64,
    ).T
    bank.flags.writeable = False
    return bank
