import contextlib
import os
import pathlib
import tempfile

import pytest

from ldm_jax.data.sources.files import MissingError, walk
from tests.data.sources.making import put, reasons


def tree(root, *names):
    for name in names:
        put(root, name, b"")
    return walk(root)


def test_order_does_not_depend_on_the_disk(tmp_path):
    names = ["b.wav", "a/z.wav", "a/b/c.wav", "c.wav", "B.wav"]
    found = tree(tmp_path, *names, "a/t.csv", "notes.md", ".hidden.wav", ".git/x.wav")
    assert found.audio == ("B.wav", "b.wav", "c.wav", "a/z.wav", "a/b/c.wav")
    assert found.other == ("a/t.csv",)


@pytest.mark.parametrize(
    ("reference", "meant"),
    [
        ("x/a.wav", "x/a.wav"),
        ("./x/a.wav", "x/a.wav"),
        ("/home/somebody/set/x/a.wav", "x/a.wav"),
        ("C:\\set\\y\\a.wav", "y/a.wav"),
        ("X/A.WAV", "x/a.wav"),
        ("x/a", "x/a.wav"),
        ("y/a.mp3", "y/a.wav"),
        ("only", "y/only.flac"),
        ("only.wav", "y/only.flac"),
        ("both", "y/both.flac"),
        ("both.mp3", "y/both.mp3"),
        ("id_30.000_40.000", "id_30.000_40.000.wav"),
        ("top.wav", "top.wav"),
    ],
)
def test_finding(tmp_path, reference, meant):
    files = tree(
        tmp_path, "x/a.wav", "y/a.wav", "y/only.flac", "y/both.mp3", "y/both.flac",
        "id_30.000_40.000.wav", "top.wav", "x/top.wav",
    )  # fmt: skip
    assert files.audio[files.find(reference)] == meant


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("a.wav", "could be x/a.wav or y/a.wav"),
        ("none.wav", "is not there"),
        ("z/only.flac", "is not there; y/only.flac has its name but lies in another folder"),
        (" / ", "is not there"),
    ],
)
def test_not_finding(tmp_path, reference, message):
    files = tree(tmp_path, "x/a.wav", "y/a.wav", "y/only.flac")
    with pytest.raises(MissingError, match=f"^{message}$"):
        files.find(reference)


def test_preferred_folder(tmp_path):
    files = tree(tmp_path, "FreeSound_flac/22.flac", "SoundBible_flac/22.flac")
    assert files.audio[files.find("22", prefer="soundbible")] == "SoundBible_flac/22.flac"


def test_links(tmp_path):
    root = tmp_path / "set"
    put(root, "a/x.wav", b"")
    put(tmp_path, "far/y.wav", b"")
    (root / "a" / "up").symlink_to(root)
    (root / "b").symlink_to(tmp_path / "far")
    (root / "c").symlink_to(root / "a")
    (root / "gone.wav").symlink_to(root / "nothing")
    (root / "self.wav").symlink_to(root / "self.wav")
    os.mkfifo(root / "pipe.wav")
    files = walk(root)
    assert files.audio == ("a/x.wav", "b/y.wav")
    assert reasons(files.omissions) == {
        "a/up": "a link to the whole folder, which is read already",
        "c": "a link to the folder a, which is read already",
        "gone.wav": "a link that leads nowhere",
        "self.wav": "cannot be read: Too many levels of symbolic links",
        "pipe.wav": "not a regular file",
    }


@contextlib.contextmanager
def without_rights():
    """Root may enter every folder, so it must cease to be root."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_folder_that_may_not_be_entered():
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        root = pathlib.Path(name)
        root.chmod(0o755)
        put(root, "a.wav", b"")
        put(root, "shut/b.wav", b"")
        (root / "shut").chmod(0)
        with without_rights():
            files = walk(root)
        (root / "shut").chmod(0o755)
    assert files.audio == ("a.wav",)
    assert reasons(files.omissions) == {"shut": "the folder cannot be read: Permission denied"}
