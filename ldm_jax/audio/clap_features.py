"""What CLAP hears: log-mel spectrograms of 10 s at 48 kHz.

Both functions take NumPy arrays and JAX arrays, these inside a compiled program if need be, and
differentiably; they compute in the wave's type, at least float32. They follow
`transformers.ClapFeatureExtractor` and LAION's `get_audio_features`, but for one thing: those crop a
clip of more than 10 s at random, so that its embedding changes from call to call (LAION-AI/CLAP issue
166). Here the crop is fixed.
"""

import functools

import numpy as np
from jaxtyping import Array, Bool, Float

from ldm_jax.audio.decibel_mel import decibel_mel
from ldm_jax.audio.stft import like, namespace

SAMPLE_RATE = 48_000
SAMPLES = 480_000  # 10 s
N_FFT = 1024
HOP = 480
MELS = 64
FRAMES = SAMPLES // HOP + 1

_log_mel = functools.partial(
    decibel_mel,
    sample_rate=SAMPLE_RATE,
    n_fft=N_FFT,
    hop=HOP,
    num_mels=MELS,
    fmin=50.0,
    fmax=14_000.0,
)


def clap_features(
    wave: Float[np.ndarray | Array, "*batch samples"],
    *,
    padding: str = "repeatpad",
    crop: str = "start",
) -> Float[np.ndarray | Array, "*batch frames 64"]:
    """10 log10 max(1e-10, Slaney-mel power spectrum), for models without fusion.

    Windows of 1024 samples (periodic Hann) every 480, the clip reflected at its ends: 1001 frames
    for 10 s.

    Args:
        wave: mono clips at 48 kHz.
        padding: of clips below 10 s. "repeatpad": as often as the clip fits in whole, then silence
            (the default of transformers and of LAION). "repeat": over and over until 10 s are full.
            "pad": silence alone. "none": fewer frames, which the model stretches (the official
            AudioLDM 2, in ranking its candidates).
        crop: which 10 s of a longer clip: its "start" (the official AudioLDM 2) or its "centre".

    Raises:
        ValueError: no samples, or with padding "none" fewer than 513; another padding or crop.
    """
    if crop not in ("start", "centre"):
        raise ValueError(f"crop is {crop!r}; it can be 'start' or 'centre'")
    start = max(wave.shape[-1] - SAMPLES, 0) // 2 if crop == "centre" else 0
    return _log_mel(_pad(wave[..., start : start + SAMPLES], padding))


def clap_fusion_features(
    wave: Float[np.ndarray | Array, "*batch samples"], *, padding: str = "repeatpad"
) -> tuple[Float[np.ndarray | Array, "*batch 4 frames 64"], Bool[np.ndarray | Array, "*batch"]]:
    """(four spectrograms a clip, whether the clip is longer than they are), for models with fusion.

    As `clap_features`, but on the HTK mel scale with triangles of height 1. A clip of more than
    1001 frames becomes its whole spectrogram, linearly shrunk to 1001, and three stretches of it.
    All stretches of 1001 frames are parted into thirds by their start; the first of the first
    third, the middle one of the second and the last of the third are taken, where the peers draw
    from each. Any other clip becomes four copies and is not longer. (In a batch without a longer
    clip transformers declares a random one longer; LAION, in evaluation, does not.)

    Raises:
        ValueError: as `clap_features`.
    """
    xp = namespace(wave)
    mel = _log_mel(_pad(wave, padding), htk=True)
    frames = mel.shape[-2]
    longer = frames > FRAMES
    if longer:
        thirds = np.array_split(np.arange(frames - FRAMES + 1), 3)
        picks = (0, len(thirds[1]) // 2, -1)
        starts = (third[i] if len(third) else 0 for third, i in zip(thirds, picks, strict=True))
        parts = [_shrink(mel, FRAMES), *(mel[..., start : start + FRAMES, :] for start in starts)]
    else:
        parts = [mel] * 4
    return xp.stack(parts, axis=-3), xp.full(wave.shape[:-1], longer)


def _pad(
    wave: Float[np.ndarray | Array, "*batch samples"], padding: str
) -> Float[np.ndarray | Array, "*batch padded"]:
    """The clip filled up to 10 s; longer ones as they are."""
    samples = wave.shape[-1]
    least = N_FFT // 2 + 1 if padding == "none" else 1
    if samples < least:
        raise ValueError(f"a clip of {samples} samples; with padding {padding!r} it takes {least}")
    if padding not in ("repeatpad", "repeat", "pad", "none"):
        raise ValueError(
            f"padding is {padding!r}; it can be 'repeatpad', 'repeat', 'pad' or 'none'"
        )
    if samples >= SAMPLES or padding == "none":
        return wave
    xp = namespace(wave)
    whole = {"repeatpad": SAMPLES // samples, "repeat": SAMPLES // samples + 1, "pad": 1}[padding]
    wave = xp.tile(wave, whole)[..., :SAMPLES]
    silence = [(0, 0)] * (wave.ndim - 1) + [(0, SAMPLES - wave.shape[-1])]
    return xp.pad(wave, silence)


def _shrink(
    mel: Float[np.ndarray | Array, "*batch frames mels"], length: int
) -> Float[np.ndarray | Array, "*batch length mels"]:
    """Linear interpolation in time at the centres of `length` equal spans, with no low pass first.

    So transformers does, and so did the torchvision that LAION trained with; today's has one.
    """
    frames = mel.shape[-2]
    position = np.maximum((np.arange(length) + 0.5) * (frames / length) - 0.5, 0)[:, None]
    left = np.floor(position[:, 0]).astype(np.int32)
    right = np.minimum(left + 1, frames - 1)
    share = like(mel, position - left[:, None])
    return mel[..., left, :] * (1 - share) + mel[..., right, :] * share
