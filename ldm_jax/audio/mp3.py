"""What libsndfile's MP3 decoder needs from outside: a length, a clean beginning, and silence.

A file of variable bit rate without a Xing header has no length; the decoder estimates one from the first
frame and stops there, often long before the end. Such a file gets a Xing header with more frames than
it can hold. Tags and debris before the first frame are left out. And mpg123 writes of everything that
it meets to the standard error stream of the process, past Python.
"""

import contextlib
import os
import re
import struct
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import NamedTuple

from ldm_jax.audio.containers import Stream

_BIT_RATES = {  # kbit/s of layer III by index
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # MPEG 1
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # MPEG 2 and 2.5
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_OTHERS = (b"fLaC", b"OggS", b"RIFF", b"RIFX", b"RF64", b"FORM", b"caff", b".snd", b"riff")
_XING = (b"Xing", b"Info")
_SEARCHED = 65_536  # bytes in which the first frame should be
_MESSAGE = re.compile(rb"^(\[src/libmpg123/|Note: |Warning: )[^\n]*\n", re.MULTILINE)
_one_at_a_time = threading.Lock()


class Frame(NamedTuple):
    """What a frame's header of four bytes says; `xing` is where a Xing header would be."""

    size: int
    xing: int
    kind: tuple[int, int]  # that of all frames in a file: version and rate


def frame(data: bytes, offset: int) -> Frame | None:
    """The frame that begins at `offset`, if that is one of layer III with a known bit rate."""
    if len(data) < offset + 4 or data[offset] != 0xFF or data[offset + 1] & 0xE6 != 0xE2:
        return None
    version = data[offset + 1] >> 3 & 3
    bit_rate, rate = data[offset + 2] >> 4, data[offset + 2] >> 2 & 3
    if version == 1 or bit_rate in (0, 15) or rate == 3:
        return None
    first = version == 3
    kilobits, hertz = _BIT_RATES[first][bit_rate - 1], _RATES[version][rate]
    size = (144_000 if first else 72_000) * kilobits // hertz + (data[offset + 2] >> 1 & 1)
    mono = data[offset + 3] >> 6 == 3
    side = {(True, False): 32, (True, True): 17, (False, False): 17, (False, True): 9}[first, mono]
    return Frame(size, 4 + side, (version, rate))


def prepared(stream: Stream) -> Stream:
    """The stream without what is before its first frame and with a Xing header, if it is MP3; else as it is."""
    start = _after_tags(stream)
    data = stream.part(start, _SEARCHED)
    if data[:4] in _OTHERS:
        return stream
    found = next((k for k in _syncs(data) if _is_first(data, k)), None)
    if found is None:
        return stream.mp3(0)  # libsndfile may still try
    header = frame(data, found)
    assert header is not None
    most = (stream.size - start) // 24 + 1  # frames; the shortest has 24 bytes
    name, flags, count = struct.unpack_from(
        ">4sII", data.ljust(len(data) + 64), found + header.xing
    )
    if name in _XING and flags & 1 and count <= most:
        return stream.mp3(start + found)
    return stream.mp3(start + found, head=_xing_frame(data[found : found + 4], most))


def _syncs(data: bytes) -> Iterator[int]:
    at = data.find(b"\xff")
    while at >= 0:
        yield at
        at = data.find(b"\xff", at + 1)


def _is_first(data: bytes, offset: int) -> bool:
    """Whether three frames of a kind follow one another, or as many as there are."""
    kind = None
    for _ in range(3):
        found = frame(data, offset)
        if found is None or (kind is not None and found.kind != kind):
            return kind is not None and offset == len(data)
        kind = found.kind
        offset += found.size
    return True


def _xing_frame(header: bytes, frames: int) -> bytes:
    """A frame without sound that announces `frames`; as `header` but for bit rate and checksum."""
    header = bytes([header[0], header[1] | 1, 0x90 | header[2] & 0x0C, header[3]])
    shape = frame(header, 0)
    assert shape is not None
    body = bytes(shape.xing - 4) + b"Xing\0\0\0\1" + frames.to_bytes(4, "big")
    return (header + body).ljust(shape.size, b"\0")


def _after_tags(stream: Stream) -> int:
    """Where the ID3v2 tags at the beginning end."""
    position = 0
    while (tag := stream.part(position, 10))[:3] == b"ID3" and len(tag) == 10:
        size = sum(
            (byte & 0x7F) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True)
        )
        position += 10 + size + 10 * (tag[5] >> 4 & 1)
    return position


@contextlib.contextmanager
def silence(stream: Stream) -> Iterator[None]:
    """Keeps mpg123's messages off the standard error stream; what else is written there comes later."""
    if not stream.is_mp3:
        yield
        return
    with _one_at_a_time, tempfile.TemporaryFile() as kept:
        try:
            before = os.dup(2)
        except OSError:  # there is no such stream
            yield
            return
        if sys.stderr:
            sys.stderr.flush()
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            kept.seek(0)
            rest = _MESSAGE.sub(b"", kept.read())
            if rest:
                os.write(before, rest)
            os.close(before)
