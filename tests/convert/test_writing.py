import contextlib
import hashlib
import os
import pathlib
import resource

import numpy as np
import pytest

from ldm_jax.convert import files
from ldm_jax.convert.files import (
    CheckpointError,
    content_hash,
    open_tensors,
    save_tensors,
    staged,
    write_json,
)


def all_same(ours, theirs):
    assert set(ours) == set(theirs)
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in theirs)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@contextlib.contextmanager
def full_disk(size):
    """No file may grow past `size` bytes, as on a disk that fills up."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("shard_bytes", [1 << 30, 1 << 16])
def test_a_full_disk_leaves_the_earlier_file(tmp_path, shard_bytes):
    path = tmp_path / "model.safetensors"
    small = {"w": np.arange(10.0)}
    save_tensors(path, small)
    large = {"a": np.zeros(1 << 12), "w": np.zeros(1 << 20)}
    with full_disk(1 << 20), pytest.raises(OSError, match="too large"):
        save_tensors(path, large, shard_bytes=shard_bytes)
    assert names_in(tmp_path) == ["model.safetensors"]
    all_same(open_tensors(path), small)
    with full_disk(10), pytest.raises(OSError, match="too large"):
        write_json(tmp_path / "config.json", {"long": "x" * 100})
    assert names_in(tmp_path) == ["model.safetensors"]


def test_what_cannot_be_held_is_said_before_anything_is_written(tmp_path):
    path = tmp_path / "new" / "model.safetensors"
    with pytest.raises(ValueError, match="names has type object"):
        save_tensors(path, {"w": np.zeros(2), "names": np.array(["a", None])})
    with pytest.raises(ValueError, match="wide has type complex128"):
        save_tensors(path, {"wide": np.zeros(2, np.complex128)})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(path, {"x": np.zeros(2)})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"x": float("nan")})
    assert names_in(tmp_path) == []


def test_json_and_permissions(tmp_path):
    path = tmp_path / "a" / "config.json"
    write_json(path, {"name": "Müller", "sizes": [1]})
    text = '{\n  "name": "Müller",\n  "sizes": [\n    1\n  ]\n}\n'
    assert path.read_text("utf-8") == text
    save_tensors(tmp_path / "a" / "x.safetensors", {"w": np.zeros(1)})
    with staged(tmp_path / "b") as building:
        pass
    reference = tmp_path / "reference"
    reference.touch()
    mode = reference.stat().st_mode & 0o666
    assert path.stat().st_mode & 0o777 == mode
    assert (tmp_path / "a" / "x.safetensors").stat().st_mode & 0o777 == mode
    assert (tmp_path / "b").stat().st_mode & 0o666 == mode
    assert not building.exists()


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "deep" / "checkpoint"

    def interrupted(**options):
        with staged(folder, **options) as building:
            assert building.parent == folder.parent
            assert building.name.startswith("checkpoint.tmp-")
            (building / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names_in(folder.parent) == []
    with staged(folder) as building:
        (building / "one").touch()
        assert not folder.exists()
    assert names_in(folder) == ["one"]
    with pytest.raises(CheckpointError, match="not empty; remove it or ask to overwrite"):
        staged(folder).__enter__()
    with pytest.raises(KeyboardInterrupt):
        interrupted(overwrite=True)
    assert names_in(folder) == ["one"]
    with staged(folder, overwrite=True) as building:
        (building / "two").touch()
    assert names_in(folder) == ["two"]
    assert names_in(folder.parent) == ["checkpoint"]


def test_a_folder_that_someone_else_finished_first(tmp_path):
    folder = tmp_path / "checkpoint"

    def build():
        with staged(folder) as ours:
            (ours / "ours").touch()
            with staged(folder) as theirs:
                (theirs / "theirs").touch()

    with pytest.raises(CheckpointError, match="not empty"):
        build()
    assert names_in(folder) == ["theirs"]
    assert names_in(tmp_path) == ["checkpoint"]


def test_a_failed_swap_puts_the_earlier_folder_back(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoint"
    with staged(folder) as building:
        (building / "one").touch()
    rename = pathlib.Path.rename

    def failing(self, target):
        if ".tmp-" in self.name:
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(pathlib.Path, "rename", failing)
    with pytest.raises(OSError, match="no"), staged(folder, overwrite=True) as building:
        (building / "two").touch()
    assert names_in(folder) == ["one"]
    assert names_in(tmp_path) == ["checkpoint"]


def test_folders_that_are_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="is a file"):
        staged(tmp_path / "file", overwrite=True).__enter__()
    (tmp_path / "work" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "here")
    for folder in (pathlib.Path("."), tmp_path / "work"):
        with pytest.raises(CheckpointError, match="holds the working directory"):
            staged(folder, overwrite=True).__enter__()
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    with staged(tmp_path / "link") as building:
        (building / "x").touch()
    assert names_in(tmp_path / "empty") == ["x"]
    assert (tmp_path / "link").is_symlink()


def test_content_hash_is_that_of_sha256sum(tmp_path, monkeypatch):
    folder = tmp_path / "one"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "a.bin").write_bytes(b"abc")
    (folder / "model.json").write_bytes(b"{}")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert content_hash(folder / "unet" / "a.bin") == abc
    braces = hashlib.sha256(b"{}").hexdigest()
    manifest = f"{braces}  model.json\n{abc}  unet/a.bin\n"
    expected = hashlib.sha256(manifest.encode()).hexdigest()
    assert content_hash(folder) == expected
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x").touch()
    os.utime(folder / "model.json", (1, 1))
    assert content_hash(folder) == expected
    linked = tmp_path / "snapshot"
    (linked / "unet").mkdir(parents=True)
    (linked / "unet" / "a.bin").symlink_to(folder / "unet" / "a.bin")
    (linked / "model.json").symlink_to(folder / "model.json")
    assert content_hash(linked) == expected

    monkeypatch.setattr(files.hashlib, "file_digest", None)  # nothing is read a second time
    assert content_hash(folder) == expected
    monkeypatch.undo()
    (folder / "unet" / "a.bin").write_bytes(b"abd")
    assert content_hash(folder) != expected
    (folder / "unet" / "a.bin").rename(folder / "unet" / "b.bin")
    with pytest.raises(CheckpointError, match="does not exist"):
        content_hash(tmp_path / "none")
