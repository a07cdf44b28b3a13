"""TensorFlow's checkpoints: one that TensorFlow wrote, and what is refused."""

import hashlib
import re
import zipfile

import numpy as np
import pytest

from ldm_jax.convert import single
from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.convert.rules import ConversionError
from ldm_jax.convert.tf_bundle import open_bundle
from tests import cases_musicnn as cases
from tests.convert import bundle_bytes
from tests.golden import FOLDER

DATA = ".data-00000-of-00001"
SMALL = {"a/x": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float64(0.5)}


def assert_same(found, expected):
    assert list(found) == sorted(expected)
    for name, x in expected.items():
        assert found[name].dtype == x.dtype, name
        np.testing.assert_array_equal(found[name], x)


def test_golden():
    """All types, shapes with and without axes or numbers; the string is left out."""
    assert_same(open_bundle(FOLDER / "tf_bundle").tensors(), cases.bundle())


def test_by_hand(tmp_path):
    """Several blocks; a name that is empty before the dot; the same in a zip, packed or not."""
    folder = bundle_bytes.write(tmp_path / "package" / "net", cases.bundle(), per_block=7)
    bundle_bytes.write(tmp_path / "package" / "other", SMALL)
    assert_same(open_bundle(folder).tensors(), cases.bundle())
    assert_same(open_bundle(tmp_path / "package", within="net").tensors(), cases.bundle())
    hashed = hashlib.sha256((folder / DATA).read_bytes()).hexdigest()
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        wheel = tmp_path / f"{method}.whl"
        with zipfile.ZipFile(wheel, "w", method) as archive:
            for file in sorted((tmp_path / "package").rglob("*")):
                archive.write(file, file.relative_to(tmp_path))
        for within, content in (("net", cases.bundle()), ("other", SMALL)):
            assert_same(open_bundle(wheel, within=within).tensors(), content)
        assert open_bundle(wheel, within="net").sha256 == hashed == open_bundle(folder).sha256
        with pytest.raises(CheckpointError, match=r"whl \(third\) has no \.index"):
            open_bundle(wheel, within="third")


@pytest.mark.parametrize("kept", [0, 1, 20, 47, -48, -8, -1])
def test_an_index_that_is_cut_short(tmp_path, kept):
    folder = bundle_bytes.write(tmp_path, SMALL)
    index = folder / ".index"
    index.write_bytes(index.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"cut short perhaps|is empty"):
        open_bundle(folder).tensors()


def test_every_damaged_byte_of_an_index_is_told(tmp_path):
    """But of the block that is not needed, and in the last 48 bytes of its place and of the padding."""
    folder = bundle_bytes.write(tmp_path, SMALL)
    index = folder / ".index"
    whole = index.read_bytes()
    unharmed = []
    for place in range(len(whole)):
        broken = bytearray(whole)
        broken[place] ^= 0x15
        index.write_bytes(broken)
        try:
            found = open_bundle(folder).tensors()
        except CheckpointError:
            continue
        assert_same(found, SMALL)
        unharmed.append(place - len(whole))
    end = [place for place in unharmed if place >= -48]
    assert unharmed == [*range(-48 - 19 - 13, -48 - 19), *end]  # before a block of one entry
    assert max(end) < -8  # there the magic number begins


def test_data_that_are_cut_short(tmp_path):
    folder = bundle_bytes.write(tmp_path, SMALL)
    (folder / DATA).write_bytes((folder / DATA).read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="b ends at byte 32 of 31; the data are cut short"):
        open_bundle(folder).tensors()
    (folder / DATA).unlink()
    with pytest.raises(CheckpointError, match=f"has no {re.escape(DATA)}; download the rest"):
        open_bundle(folder)


def test_what_else_is_refused(tmp_path):
    entry = bundle_bytes.entry(1, (1,), 0, b"1234")
    wrong = {
        "several data files": {"header": b"\x08\x02"},
        "big-endian": {"header": b"\x08\x01\x10\x01"},
        "compressed": {"kind": 1},
    }
    for said, options in wrong.items():
        folder = bundle_bytes.write(tmp_path / said, SMALL, **options)
        with pytest.raises(CheckpointError, match=said):
            open_bundle(folder).tensors()
    entries = {
        "is stored in slices": bundle_bytes.entry(1, (1,), 0, b"1234", bundle_bytes.field(7, b"")),
        "has 4 bytes for": bundle_bytes.entry(1, (2,), 0, b"1234"),
        "a field of kind 3": entry + b"\x0b",
        "bytes where a number should be": b"\x0a\x01\x01",
        "a number where bytes should be": b"\x08\x01\x10\x01",
        "out of range": entry + b"\x88",
    }
    for said, value in entries.items():
        (tmp_path / "compressed" / ".index").write_bytes(bundle_bytes.index({b"x": value}))
        with pytest.raises(CheckpointError, match=said):
            open_bundle(tmp_path / "compressed").tensors()
    bundle_bytes.write(tmp_path / "compressed", SMALL, stem="second")
    with pytest.raises(CheckpointError, match=r"2 files that end in \.index"):
        open_bundle(tmp_path / "compressed")
    (tmp_path / "text.whl").write_text("something else")
    with pytest.raises(CheckpointError, match="no checkpoint of TensorFlow; give the folder"):
        open_bundle(tmp_path / "text.whl")
    (tmp_path / "zip.whl").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(CheckpointError, match="a broken zip, cut short perhaps"):
        open_bundle(tmp_path / "zip.whl")
    with pytest.raises(CheckpointError, match="does not exist"):
        open_bundle(tmp_path / "nowhere")


def test_another_network_is_refused(tmp_path):
    folder = bundle_bytes.write(tmp_path, SMALL)
    with pytest.raises(ConversionError, match="not the weights of a musicnn: no conv2d/kernel"):
        single.load(folder, "musicnn")
