"""The files that recordings lie in: Debian packages, zip archives, OpenTTD's `.cat`."""

import contextlib
import lzma
import pathlib
import shutil
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

AR_MAGIC = b"!<arch>\n"
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError)


class ContainerError(ValueError):
    """This is not the container it should be; the message is one sentence."""


@contextlib.contextmanager
def _damage_told(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        raise ContainerError(f"{path} is damaged ({error})") from None


def unpack_deb(path: pathlib.Path, folder: pathlib.Path, *, wanted: Callable[[str], bool]) -> None:
    """Writes the regular files that a Debian package installs below `folder`, those whose path is `wanted`.

    Raises:
        ContainerError: not a Debian package, or damaged.
        OSError: it cannot be read, or the folder not written.
    """
    with _damage_told(path), path.open("rb") as file:
        if _find_data(file, path).endswith(".zst"):  # Python reads zstandard from 3.14 on
            _unpack_by_dpkg(path, folder, wanted)
        else:
            _unpack_tar(file, folder, wanted)


def _find_data(file: Any, path: pathlib.Path) -> str:
    """Goes to the contents of the member data.tar of an ar archive, and gives its name."""
    if file.read(len(AR_MAGIC)) != AR_MAGIC:
        raise ContainerError(f"{path} is not a Debian package")
    while len(header := file.read(60)) == 60 and header[48:58].strip().isdigit():
        name, size = header[:16].decode("ascii", "replace").strip(" /"), int(header[48:58])
        if name.startswith("data.tar"):
            return name
        file.seek(size + size % 2, 1)
    raise ContainerError(f"{path} has no data in it: it is cut off, or not a Debian package")


def _unpack_tar(file: Any, folder: pathlib.Path, wanted: Callable[[str], bool]) -> None:
    with tarfile.open(fileobj=file, mode="r|*") as archive:
        for member in archive:
            contents = archive.extractfile(member) if member.isfile() else None
            if contents is not None and _is_inside(member.name) and wanted(member.name):
                _write(folder / member.name, contents)


def _unpack_by_dpkg(
    path: pathlib.Path, folder: pathlib.Path, wanted: Callable[[str], bool]
) -> None:
    if shutil.which("dpkg-deb") is None:
        raise ContainerError(f"{path} is packed with zstandard, which needs dpkg-deb to unpack")
    command = ["dpkg-deb", "--fsys-tarfile", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        _unpack_tar(process.stdout, folder, wanted)


def unpack_zip(path: pathlib.Path, folder: pathlib.Path, *, wanted: Callable[[str], bool]) -> None:
    """Writes the files of a zip archive below `folder`, those whose path is `wanted`.

    Raises:
        ContainerError: not a zip archive, or damaged.
        OSError: it cannot be read, or the folder not written.
    """
    with _damage_told(path), zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename
            if not member.is_dir() and _is_inside(name) and wanted(name):
                with archive.open(member) as contents:
                    _write(folder / name, contents)


def _is_inside(name: str) -> bool:
    """Whether a member's path stays below the folder that it is unpacked to."""
    path = pathlib.PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _write(path: pathlib.Path, contents: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        shutil.copyfileobj(contents, file, 1 << 20)


def cat_members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """(title, contents of a WAV file) of every sound of an OpenTTD `.cat` file.

    It begins with pairs of little-endian 32-bit numbers, offset (highest bit ignored) and size of a sound; the
    first offset is where they end. At the offset stand the title, as a byte of length and characters, and then
    the sound.

    Raises:
        ContainerError: an offset beyond the end, or what is there is not a WAV file.
    """
    count = int.from_bytes(data[:4], "little") % 2**31 // 8
    if len(data) < 8 or not 0 < 8 * count <= len(data):
        raise ContainerError("not a .cat file: its first number is not the length of a table")
    for offset, size in struct.iter_unpack("<II", data[: 8 * count]):
        offset %= 2**31
        if offset >= len(data) or offset + 1 + data[offset] + size > len(data):
            raise ContainerError("the .cat file is cut off")
        start = offset + 1 + data[offset]
        title = data[offset + 1 : start].rstrip(b"\0").decode("latin1")
        wave = data[start : start + size]
        if wave[:4] != b"RIFF":
            raise ContainerError(f"the .cat file's sound {title!r} is not a WAV file")
        yield title, wave
