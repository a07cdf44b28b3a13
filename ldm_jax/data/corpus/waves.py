"""The sound of a recording: 16 kHz mono, trimmed, levelled, named by its content, written as Opus."""

import hashlib
import io
import pathlib

import numpy as np
import soundfile
from jaxtyping import Float

from ldm_jax.audio.files import whole_file
from ldm_jax.audio.reading import AudioError, read_audio, to_mono
from ldm_jax.audio.resampling import resample
from ldm_jax.data.corpus.recordings import Audio

RATE = 16_000
SHORTEST = 0.12  # seconds
SILENCE = 1e-3  # a recording whose peak is below this is silent
TRIM = 0.00316  # of the peak (-50 dB): softer ends are cut off
MARGIN = 960  # samples (60 ms) of them that stay
LONG = 2.0  # seconds; such sounds, as rain or an engine, need more bits a second than short ones
# libsndfile's scale for Opus, about 27 and 37 kbit/s.
COMPRESSION, COMPRESSION_OF_LONG = 0.92, 0.88


def read(audio: Audio) -> tuple[Float[np.ndarray, " samples"], int]:
    """(mean of the channels at 16 kHz, rate of the file in Hz; 0 for samples that come without a header).

    Raises:
        AudioError: not audio, damaged, or with samples that are not finite.
        OSError: the file cannot be read.
    """
    if isinstance(audio, np.ndarray):
        return (audio / np.float32(32_768)).astype(np.float32), 0
    wave, rate = read_audio(audio)
    return resample(to_mono(wave), rate, RATE), rate


def prepare(wave: Float[np.ndarray, " samples"], *, trim: bool) -> Float[np.ndarray, " prepared"]:
    """The wave without soft ends (where `trim`), and its peak at 0.95 where it was above 0.95 or below 0.3.

    Raises:
        AudioError: shorter than 0.12 s, or silent.
    """
    if len(wave) < SHORTEST * RATE:
        raise AudioError(f"it is {len(wave) / RATE:.3f} s long, less than {SHORTEST} s")
    peak = float(np.abs(wave).max())
    if peak < SILENCE:
        raise AudioError(f"it is silent (its peak is {peak:.1g} of full scale)")
    if trim:
        loud = np.flatnonzero(np.abs(wave) > peak * TRIM)
        wave = wave[max(0, loud[0] - MARGIN) : loud[-1] + MARGIN]
    return wave if 0.3 <= peak <= 0.95 else wave * (0.95 / peak)


def content_hash(wave: Float[np.ndarray, " samples"]) -> str:
    """12 hexadecimal digits of SHA-1 of the wave rounded to 1/64 of full scale."""
    return hashlib.sha1(np.round(wave * 64).astype(np.int8).tobytes()).hexdigest()[:12]


def write_opus(path: pathlib.Path, wave: Float[np.ndarray, " samples"], *, kind: str) -> None:
    """Writes the wave as Ogg Opus, whole or not at all; speech takes fewer bits than the rest."""
    is_dense = kind != "speech" and len(wave) >= LONG * RATE
    level = COMPRESSION_OF_LONG if is_dense else COMPRESSION
    data = io.BytesIO()
    soundfile.write(data, wave, RATE, format="OGG", subtype="OPUS", compression_level=level)
    with whole_file(path) as temporary:
        temporary.write_bytes(data.getvalue())
