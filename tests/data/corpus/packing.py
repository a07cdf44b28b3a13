"""Makes the containers that packages come in, from their descriptions and with no tool of Debian."""

import io
import struct
import tarfile


def tar(files, *, compression="xz"):
    """A tar archive of {path: bytes}; a value may be a TarInfo of a member without contents."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=f"w:{compression}") as archive:
        for name, contents in files.items():
            if isinstance(contents, tarfile.TarInfo):
                archive.addfile(contents)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(contents)
            archive.addfile(member, io.BytesIO(contents))
    return data.getvalue()


def ar(members):
    """An ar archive of {name: bytes}, with the padding to even lengths that deb(5) asks for."""
    data = b"!<arch>\n"
    for name, contents in members.items():
        data += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(contents):<10}`\n".encode()
        data += contents + b"\n" * (len(contents) % 2)
    return data


def deb(files, *, compression="xz"):
    """A Debian package that installs {path: bytes}."""
    files = {f"./{name}": contents for name, contents in files.items()}
    return ar(
        {
            "debian-binary": b"2.0\n",
            "control.tar.gz": tar({"./control": b"odd"}, compression="gz"),
            f"data.tar.{compression}": tar(files, compression=compression),
        }
    )


def cat(sounds):
    """OpenTTD's `.cat` of [(title, bytes)]; the highest bit of the first offset is set, as in OpenSFX."""
    table, body = b"", b""
    for number, (title, wave) in enumerate(sounds):
        offset = 8 * len(sounds) + len(body) + (2**31 if number == 0 else 0)
        table += struct.pack("<II", offset, len(wave))
        body += bytes([len(title) + 1]) + title.encode("latin1") + b"\0" + wave
    return table + body
