"""What VGGish hears: log-mel spectrograms of 0.96 s at 16 kHz, end to end.

The function takes NumPy arrays and JAX arrays, these inside a compiled program if need be, and
differentiably; it computes in the wave's type, at least float32. It follows the `vggish_input` of
tensorflow/models and torchvggish. Google's FAD program, other than those, first cuts the wave into
seconds.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ldm_jax.audio.bands import Piece, band_energies, pieces
from ldm_jax.audio.kaldi import mel_scale
from ldm_jax.audio.stft import as_float, frame_count, frames, hann, like, namespace

SAMPLE_RATE = 16_000
WINDOW = 400
HOP = 160
N_FFT = 512
MELS = 64
EXAMPLE_FRAMES = 96
MIN_SAMPLES = WINDOW + (EXAMPLE_FRAMES - 1) * HOP  # of one example: 15600

_LOW_HZ, _HIGH_HZ = 125.0, 7_500.0
_OFFSET = 0.01


def example_count(samples: int) -> int:
    """How many whole examples a clip of so many samples has: 10 for 10 s, 0 below `MIN_SAMPLES`."""
    return frame_count(samples, n_fft=WINDOW, hop=HOP, pad=0) // EXAMPLE_FRAMES


def vggish_examples(
    wave: Float[np.ndarray | Array, "*batch samples"],
) -> Float[np.ndarray | Array, "*batch examples 96 64"]:
    """ln(sum_k filter_k |FFT(frame Hann)_k| + 0.01) of frames of 25 ms every 10 ms, in examples of 96.

    Nothing is padded: what is left behind the last whole example is dropped, and a clip of fewer than
    `MIN_SAMPLES` (15600) has no example. That is for the caller to see to; fadtk pads with silence to
    1 s, audioldm_eval to 2 s.

    Args:
        wave: mono clips at 16 kHz, full scale 1.

    Returns:
        `example_count` examples of each clip, which may be none.
    """
    wave = as_float(wave)
    used = example_count(wave.shape[-1]) * EXAMPLE_FRAMES
    wave = wave[..., : max(0, WINDOW + (used - 1) * HOP) if used else 0]
    mel = _log_mel(wave)
    return mel.reshape(*mel.shape[:-2], used // EXAMPLE_FRAMES, EXAMPLE_FRAMES, MELS)


def _log_mel(
    wave: Float[np.ndarray | Array, "*batch samples"],
) -> Float[np.ndarray | Array, "*batch frames 64"]:
    parts = frames(wave, length=WINDOW, hop=HOP)
    if namespace(wave) is jnp:
        strength = _magnitude(jnp.fft.rfft(parts * like(parts, hann(WINDOW)), n=N_FFT))
        with jax.default_matmul_precision("highest"):  # a TPU would multiply in bfloat16
            mel = strength @ jnp.asarray(filters(), strength.dtype)
        return jnp.log(mel + _OFFSET)
    bank = _pieces(wave.dtype)
    energies = np.empty((*parts.shape[:-1], MELS), wave.dtype)
    for clip in np.ndindex(parts.shape[:-2]):
        energies[clip] = band_energies(np.asarray(parts[clip]), bank, power=1, n_fft=N_FFT)
    energies += wave.dtype.type(_OFFSET)
    return np.log(energies, out=energies)


def _magnitude(spectrum: Array) -> Array:
    """|X|, with a gradient of 0 where X is 0."""
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    silent = power == 0
    return jnp.where(silent, 0, jnp.sqrt(jnp.where(silent, 1, power)))


@functools.cache
def filters() -> Float[np.ndarray, "257 64"]:
    """Triangles of height 1 from 125 to 7500 Hz, evenly spaced and straight in mel (1127 ln(1 + f / 700)).

    The bin of 0 Hz counts for nothing. Float64, not to be written to.
    """
    low, high = mel_scale(np.asarray([_LOW_HZ, _HIGH_HZ]))
    edges = np.linspace(low, high, MELS + 2)
    points = mel_scale(np.arange(N_FFT // 2 + 1) * (SAMPLE_RATE / N_FFT))[:, None]
    rising = (points - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - points) / (edges[2:] - edges[1:-1])
    bank = np.maximum(0.0, np.minimum(rising, falling))
    bank[0] = 0.0
    bank.flags.writeable = False
    return bank


@functools.cache
def _pieces(dtype: np.dtype) -> tuple[Piece, ...]:
    return pieces(filters(), power=1, dtype=dtype)
