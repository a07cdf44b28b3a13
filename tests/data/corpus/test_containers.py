import io
import tarfile
import zipfile

import pytest

from ldm_jax.data.corpus.containers import ContainerError, cat_members, unpack_deb, unpack_zip
from ldm_jax.data.corpus.fetching import unpack, version_of
from tests.data.corpus.packing import ar, cat, deb

FILES = {"usr/share/a b/è.ogg": b"odd", "usr/share/doc/p/copyright": b"", "x": bytes(100_000)}


def read(unpack, path, wanted=lambda name: True):
    """{path: contents} of what `unpack` writes."""
    folder = path.parent / "unpacked"
    unpack(path, folder, wanted=wanted)
    files = [file for file in folder.rglob("*") if not file.is_dir()]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


@pytest.mark.parametrize("compression", ["xz", "gz", ""])
def test_deb(tmp_path, compression):
    path = tmp_path / "p.deb"
    path.write_bytes(deb(FILES, compression=compression))
    assert read(unpack_deb, path) == FILES


def test_only_what_is_wanted(tmp_path):
    path = tmp_path / "p.deb"
    path.write_bytes(deb(FILES))
    assert list(read(unpack_deb, path, lambda name: name.endswith(".ogg"))) == [
        "usr/share/a b/è.ogg"
    ]


def test_deb_leaves_out_links_and_what_lies_outside(tmp_path):
    link = tarfile.TarInfo("usr/link.ogg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    path = tmp_path / "p.deb"
    path.write_bytes(deb({"../../evil.ogg": b"1", "usr/link.ogg": link, "good.ogg": b"2"}))
    assert read(unpack_deb, path) == {"good.ogg": b"2"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a Debian package"),
        (b"<html>404</html>", "not a Debian package"),
        (ar({"debian-binary": b"2.0\n"}), "no data in it"),
        (deb(FILES)[:-200], "damaged"),
        (deb(FILES, compression="gz")[:-200], "damaged"),
        (ar({"data.tar.xz": b"no tar at all"}), "damaged"),
        (ar({"data.tar": b""}).replace(b"0         `", b"zero      `"), "no data in it"),
    ],
)
def test_damaged_deb(tmp_path, content, words):
    path = tmp_path / "p_1_all.deb"
    path.write_bytes(content)
    with pytest.raises(ContainerError, match=words):
        read(unpack_deb, path)


def archive(files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        for name, contents in files.items():
            file.writestr(name, contents)
    return data.getvalue()


def test_zip(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(archive({"audio/": b"", "audio/x.ogg": b"sound", "../y.ogg": b"evil"}))
    assert read(unpack_zip, path) == {"audio/x.ogg": b"sound"}
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ContainerError, match="damaged"):
        read(unpack_zip, path)


def test_damage_inside_a_zip(tmp_path):
    path = tmp_path / "a.zip"
    data = bytearray(archive({"x.ogg": bytes(range(256)) * 40}))
    data[60] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ContainerError, match="damaged"):
        read(unpack_zip, path)


def test_cat():
    sounds = [('"Wind", by A', b"RIFF1234"), ("empty place", b"RIFF"), ('"Heavy" x', b"RIFFab")]
    assert list(cat_members(cat(sounds))) == sounds


@pytest.mark.parametrize(
    "content", [b"", b"\1\0\0\0", b"\xff" * 40, cat([("a", b"RIFFabcd")])[:-1]]
)
def test_damaged_cat(content):
    with pytest.raises(ContainerError):
        list(cat_members(content))


def test_cat_of_something_else():
    with pytest.raises(ContainerError, match="'a' is not a WAV"):
        list(cat_members(cat([("a", b"OggSabcd")])))


def test_unpack_takes_audio_texts_and_what_is_in_archives(tmp_path):
    path = tmp_path / "p_1%3a2-3_all.deb"
    mod = archive({"audio/a.OGG": b"1", "art/b.png": b"2"})
    path.write_bytes(
        deb(
            {
                "g/mod.zip": mod,
                "g/c.wav": b"3",
                "g/d.png": b"4",
                "g/readme.txt": b"5",
                "g/e.cat": b"6",
            }
        )
    )
    unpack(path, tmp_path / "out")
    found = {
        file.relative_to(tmp_path / "out").as_posix(): file.read_bytes()
        for file in (tmp_path / "out").rglob("*")
        if file.is_file()
    }
    assert found == {
        "g/mod/audio/a.OGG": b"1",
        "g/c.wav": b"3",
        "g/readme.txt": b"5",
        "g/e.cat": b"6",
    }
    assert version_of(path) == "1:2-3"
