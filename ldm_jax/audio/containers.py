"""What a file's outer form tells: what kind it is, and whether its end is missing."""

import io
import struct
from typing import BinaryIO

_READ = {
    b"RIFF": "a WAV",
    b"RF64": "a WAV",
    b"fLaC": "a FLAC",
    b"OggS": "an Ogg",
    b"FORM": "an AIFF",
    b"ID3": "an MP3",
    b"\xff\xfb": "an MP3",
    b"\xff\xf3": "an MP3",
}
# How files begin that people take for audio, or that a failed download leaves behind.
_KINDS = (
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM"),
    (4, b"ftyp", "MP4 (AAC or ALAC)"),
    (0, b"\xff\xf1", "raw AAC"),
    (0, b"\xff\xf9", "raw AAC"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "Windows Media (WMA)"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"wvpk", "WavPack"),
    (0, b"MThd", "MIDI"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "gzip"),
    (257, b"ustar", "a tar archive"),
    (0, b"version https://git-lfs", "a Git LFS pointer, whose file was not fetched"),
    (0, b"<", "a web page or XML"),
    (0, b"{", "JSON"),
    (0, bytes(16), "zeros"),
)
_OGG_PAGE = 65_307  # bytes of the longest
_STREAMED = 0x7FFF_F000  # lengths from here on stand for "not known", in a WAV written to a pipe


class Stream(io.RawIOBase):
    """`head` and then `file` from byte `skip` on, for libsndfile, whose callbacks may not raise.

    Attributes:
        size: in bytes.
        is_mp3: whether mpg123 will decode it.
        length_known: whether the number of samples that libsndfile tells can be believed.
    """

    def __init__(
        self, file: BinaryIO | io.IOBase, *, skip: int = 0, head: bytes = b"", is_mp3: bool = False
    ):
        self._file, self._skip, self._head = file, skip, head
        self.is_mp3, self.length_known = is_mp3, not head
        self._error: OSError | None = None
        self._position = 0
        self.size = len(head) + max(0, file.seek(0, io.SEEK_END) - skip)

    def mp3(self, skip: int, head: bytes = b"") -> "Stream":
        """The same file from byte `skip` on, with `head` before it."""
        return Stream(self._file, skip=skip, head=head, is_mp3=True)

    def tell(self) -> int:
        """Where the next byte comes from."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves, but not before the beginning: then it stays."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if origin + offset >= 0:
            self._position = origin + offset
        return self._position

    def readinto(self, buffer) -> int:
        """Fills the buffer as far as there is something; after a failure there is nothing."""
        target = memoryview(buffer).cast("B")
        done = 0
        try:
            while done < len(target) and (data := self._some(len(target) - done)):
                target[done : done + len(data)] = data
                done += len(data)
                self._position += len(data)
        except OSError as error:
            self._error = error
        return done

    def _some(self, count: int) -> bytes:
        if self._position < len(self._head):
            return self._head[self._position : self._position + count]
        self._file.seek(self._position - len(self._head) + self._skip)
        return self._file.read(count)

    def part(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset` on; the position stays."""
        before, self._position = self._position, offset
        data = bytearray(count)
        data = bytes(data[: self.readinto(data)])
        self._position = before
        self.check()
        return data

    def check(self) -> None:
        """Raises the OSError that reading met with, if any."""
        if self._error is not None:
            raise self._error


def describe(stream: Stream) -> str:
    """A clause on what could not be opened: "not audio that can be read: it is a zip archive"."""
    head = stream.part(0, 512)
    for magic, kind in _READ.items():
        if head.startswith(magic):
            return f"{kind} file that is damaged or cut off at its beginning"
    for offset, magic, kind in _KINDS:
        if head[offset : offset + len(magic)] == magic:
            return f"not audio that can be read: it is {kind}"
    return f"not audio that can be read: it begins with {head[:8]!r}"


def missing_bytes(stream: Stream) -> int:
    """Bytes that a WAV's or AIFF's header announces and that are not there; of Ogg, the page that breaks off."""
    head = stream.part(0, 12)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"FORM"):
        return _missing_from_chunks(stream, ">" if head[:4] in (b"RIFX", b"FORM") else "<")
    if head[:4] == b"OggS":
        return _missing_from_ogg(stream)
    return 0


def _missing_from_chunks(stream: Stream, order: str) -> int:
    position, large = 12, 0
    while len(header := stream.part(position, 8)) == 8:
        name, size = header[:4], struct.unpack(order + "I", header[4:])[0]
        position += 8
        if name == b"ds64":
            large = struct.unpack("<Q", stream.part(position + 8, 8).ljust(8, b"\0"))[0]
        if name in (b"data", b"SSND"):
            if size >= _STREAMED:
                size = large
            return max(0, position + size - stream.size)
        position += size + size % 2
    return 0


def _missing_from_ogg(stream: Stream) -> int:
    start = max(0, stream.size - _OGG_PAGE)
    tail = stream.part(start, _OGG_PAGE)
    page = tail.rfind(b"OggS")
    if page < 0:
        return 0
    header = tail[page : page + 27]
    segments = tail[page + 27 : page + 27 + header[26]] if len(header) == 27 else b""
    if len(header) < 27 or len(segments) < header[26]:
        return _OGG_PAGE  # not known, and not less than what is of interest
    size = 27 + len(segments) + sum(segments)
    return size if page + size > len(tail) else 0
