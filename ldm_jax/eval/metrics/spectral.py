"""Distances between two waves of the same sound, such as a clip and what an autoencoder made of it.

One number a pair of waves, for NumPy and JAX arrays. Of two lengths the shorter counts: the end of the longer is cut.
`means.ClipMean` averages them.
"""

from typing import Any

import numpy as np
from jaxtyping import Array, Float

from ldm_jax.audio.log_mel import LogMelSettings, log_mel
from ldm_jax.audio.multi_resolution_stft import multi_resolution_stft
from ldm_jax.audio.stft import as_float, namespace, windowed_stft

Waves = Float[np.ndarray | Array, "*batch samples"]
Others = Float[np.ndarray | Array, "*batch others"]
Numbers = Float[np.ndarray | np.floating | Array, "*batch"]


def log_spectral_distance(generated: Waves, reference: Others, *, sample_rate: int) -> Numbers:
    """LSD: the mean over frames of (mean_f (log10 (|Y|^2 / |X|^2))^2)^(1/2), of X generated and Y reference.

    As ssr_eval computes it: windows of int(2048 / (44100 / rate)) samples every 10 ms, frames centred on zeros beyond
    the ends, and 1e-12 added to |X| and to the ratio. Silence in one wave alone dominates: digital zeros make a bin
    count up to 24.

    Args:
        generated: waves.
        reference: waves at the same rate.
        sample_rate: in Hz.

    Raises:
        ValueError: no samples.
    """
    generated, reference = _shorter(generated, reference, least=1)
    xp = namespace(generated)
    n_fft, hop = int(2048 / (44_100 / sample_rate)), sample_rate // 100
    x, y = (_zero_padded_power(wave, n_fft=n_fft, hop=hop) for wave in (generated, reference))
    ratio = y / (xp.sqrt(x) + 1e-12) ** 2
    return xp.sqrt((xp.log10(ratio + 1e-12) ** 2).mean(axis=-1)).mean(axis=-1)


def multi_resolution_stft_distance(generated: Waves, reference: Others) -> Numbers:
    """The mean over three STFTs of spectral convergence plus the mean distance of log magnitudes.

    || |Y| - |X| ||_F / || |Y| ||_F + mean |ln |Y| - ln |X||, of X generated and Y reference (Yamamoto et al., arXiv
    1910.11480): the defaults of auraloss, powers of at least 1e-8.

    Raises:
        ValueError: fewer than 1025 samples.
    """
    convergence, log_distance = multi_resolution_stft(*_shorter(generated, reference, least=1025))
    return convergence + log_distance


def log_mel_distance(
    generated: Waves, reference: Others, settings: LogMelSettings, *, power: int = 1
) -> Numbers:
    """The mean of |log-mel of one - log-mel of the other|^power.

    Args:
        generated: waves.
        reference: waves at the same rate.
        settings: of the log-mel spectrogram.
        power: 1 or 2.

    Raises:
        ValueError: too few samples for the spectrogram.
    """
    generated, reference = _shorter(generated, reference, least=settings.pad + 1)
    difference = log_mel(generated, settings) - log_mel(reference, settings)
    return (namespace(generated).abs(difference) ** power).mean(axis=(-2, -1))


def si_sdr(generated: Waves, reference: Others) -> Numbers:
    """10 log10 (|a y|^2 / |a y - x|^2) in dB with a = x.y / |y|^2, both without their mean.

    Le Roux et al., arXiv 1811.02508.

    Raises:
        ValueError: no samples.
    """
    x, y = _shorter(generated, reference, least=1)
    xp = namespace(x)
    x, y = (wave - wave.mean(axis=-1, keepdims=True) for wave in (x, y))
    scale = (x * y).sum(axis=-1) / ((y**2).sum(axis=-1) + 1e-8)
    target = scale[..., None] * y
    ratio = (target**2).sum(axis=-1) / (((target - x) ** 2).sum(axis=-1) + 1e-8)
    return 10 * xp.log10(ratio + 1e-8)


def level(wave: Waves, *, skip: int = 0, peak_with_mean: bool = False) -> Others:
    """The wave without its first `skip` samples and its mean, at peak 1; silence stays.

    audioldm_eval measures LSD so, the generated wave with a skip of 7 * 160 samples, its HiFi-GAN's delay.

    Args:
        wave: any.
        skip: samples.
        peak_with_mean: divides by the peak that the wave had with its mean, as ConsistencyTTA does.

    Raises:
        ValueError: no more samples than are skipped.
    """
    if wave.shape[-1] <= skip:
        raise ValueError(f"a clip of {wave.shape[-1]} samples; to skip {skip} takes more")
    xp = namespace(wave)
    wave = as_float(wave)[..., skip:]
    centred = wave - wave.mean(axis=-1, keepdims=True)
    peak = xp.abs(wave if peak_with_mean else centred).max(axis=-1, keepdims=True)
    return centred / xp.maximum(peak, 1e-12)


def _shorter(generated: Any, reference: Any, *, least: int) -> tuple[Any, Any]:
    samples = min(generated.shape[-1], reference.shape[-1])
    if samples < least:
        raise ValueError(
            f"clips of {generated.shape[-1]} and {reference.shape[-1]} samples; this distance takes {least}"
        )
    return as_float(generated)[..., :samples], as_float(reference)[..., :samples]


def _zero_padded_power(wave: Any, *, n_fft: int, hop: int) -> Any:
    edges = [(0, 0)] * (wave.ndim - 1) + [(n_fft // 2, n_fft // 2)]
    spectrum = windowed_stft(namespace(wave).pad(wave, edges), n_fft=n_fft, hop=hop)
    return spectrum.real**2 + spectrum.imag**2
