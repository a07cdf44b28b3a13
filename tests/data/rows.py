"""Rows made by hand, for tests."""

import hashlib
import io

import numpy as np
import soundfile

from ldm_jax.data.rows import Row


def row_of(wave, *, sample_rate=16_000, **fields):
    """A row whose FLAC holds `wave` in 16 bits."""
    quantised = np.rint(np.asarray(wave, np.float64) * 32767).astype("<i2")
    stream = io.BytesIO()
    soundfile.write(stream, quantised, sample_rate, format="FLAC", subtype="PCM_16")
    empty = {
        "name": "clip",
        "captions": (),
        "transcript": "",
        "labels": (),
        "kind": "",
        "language": "",
        "speaker": "",
        "licence": "",
        "origin": "",
        "quality": 0,
        "group": "",
        "start": 0.0,
    }
    power = float(np.mean(np.square(wave)))
    return Row(
        audio=stream.getvalue(),
        sample_rate=sample_rate,
        samples=len(quantised),
        peak=float(np.abs(wave).max()),
        loudness=10 * np.log10(max(power, 1e-12)),
        hash=hashlib.blake2b(quantised.tobytes(), digest_size=16).hexdigest(),
        **(empty | fields),
    )


def counted(samples, offset=0):
    """A wave whose 16-bit samples are offset, offset + 1 ...: where a stretch was cut can be read off."""
    return (np.arange(samples) + offset) / 32767
