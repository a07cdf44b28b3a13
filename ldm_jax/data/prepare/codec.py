"""16-bit samples as a FLAC or Opus file in memory: the same bytes for the same samples, always."""

import io
import struct
import zlib
from typing import Literal

import numpy as np
from jaxtyping import Int16

_FORMATS = {"flac": ("FLAC", "PCM_16"), "opus": ("OGG", "OPUS")}
# Seconds of silence: libsndfile spoils the end of what it writes, by up to full scale.
OPUS_TAIL = 0.0625
_SERIAL = 0  # of the one stream in an Ogg file
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def encode(
    samples: Int16[np.ndarray, " samples"], *, rate: int, codec: Literal["flac", "opus"]
) -> bytes:
    """A whole file of one channel. FLAC gives back the very samples; Opus about those, and silence behind them."""
    import soundfile

    container, subtype = _FORMATS[codec]
    file = io.BytesIO()
    if codec == "opus":
        samples = np.pad(samples, (0, round(OPUS_TAIL * rate)))
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    return with_serial(file.getvalue(), _SERIAL) if codec == "opus" else file.getvalue()


def with_serial(ogg: bytes, serial: int) -> bytes:
    """The Ogg file with another stream serial number on every page, which libsndfile draws by the clock.

    The layout of a page is in RFC 3533, section 6: the serial number stands at byte 14, and at 22 a checksum
    over the page, in which it counts as 0.
    """
    pages, position = [], 0
    while position < len(ogg):
        count = ogg[position + 26]
        size = 27 + count + sum(ogg[position + 27 : position + 27 + count])
        page = bytearray(ogg[position : position + size])
        page[14:18] = struct.pack("<I", serial)
        page[22:26] = bytes(4)
        page[22:26] = struct.pack("<I", _checksum(bytes(page)))
        pages.append(bytes(page))
        position += size
    return b"".join(pages)


def _checksum(page: bytes) -> int:
    """Ogg's CRC-32: zlib's polynomial, but with the bits of a byte in the other order and nothing inverted."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
