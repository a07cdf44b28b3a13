import json
import tracemalloc

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.flax
import safetensors.numpy

from ldm_jax.convert.files import (
    CheckpointError,
    find_weights,
    open_tensors,
    save_tensors,
)
from ldm_jax.convert.safetensors_file import read_safetensors
from tests import cases_pickles
from tests.golden import random_array

DTYPES = (
    *(np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.complex64),
    *(np.int64, np.int32, np.int16, np.int8, np.uint64, np.uint32, np.uint16, np.uint8, np.bool_),
)


def tensors():
    """One array of each type, a scalar, an empty one, and two that are not contiguous."""
    x = random_array("x", (4, 6)).astype(np.float32)
    return {
        **{np.dtype(d).name: (random_array("y", (3, 5)) * 9).astype(d) for d in DTYPES},
        "scalar": np.asarray(np.float32(2.5)),
        "empty": np.zeros((0, 3), np.float16),
        "transposed": x.T,
        "strided": x[::2, 1::2],
    }


def same(ours, theirs):
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    assert ours.tobytes() == theirs.tobytes()


def all_same(ours, theirs):
    assert set(ours) == set(theirs)
    for name in theirs:
        same(np.asarray(ours[name]), np.asarray(theirs[name]))


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_the_safetensors_package_writes_is_read(tmp_path):
    path = tmp_path / "model.safetensors"
    contiguous = {name: np.asarray(x, order="C") for name, x in tensors().items()}
    safetensors.numpy.save_file(contiguous, path, metadata={"format": "pt", "é": "ü"})
    read, metadata = read_safetensors(path)
    all_same(read, contiguous)
    assert metadata == {"format": "pt", "é": "ü"}
    assert read.arrays["bfloat16"].dtype == ml_dtypes.bfloat16
    assert read.arrays["strided"].shape == (2, 3)


def test_the_safetensors_package_reads_what_is_written(tmp_path):
    path = tmp_path / "new" / "model.safetensors"
    save_tensors(path, tensors(), {"step": "3"})
    assert names_in(path.parent) == ["model.safetensors"]
    loaded = safetensors.flax.load_file(path)
    for name, x in tensors().items():
        if name not in ("float64", "int64", "uint64"):  # which JAX narrows
            same(np.asarray(loaded[name]), np.asarray(x, order="C"))
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata() == {"format": "pt", "step": "3"}
        for name in ("float64", "int64", "uint64"):
            same(file.get_tensor(name), tensors()[name])
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    for entry in (entry for name, entry in header.items() if name != "__metadata__"):
        start = 8 + int.from_bytes(content[:8], "little") + entry["data_offsets"][0]
        assert start % 8 == 0 or entry["dtype"] not in ("F64", "I64", "U64", "C64")
        assert start % 4 == 0 or "32" not in entry["dtype"]


def test_jax_arrays_and_foreign_byte_order(tmp_path):
    path = tmp_path / "x.safetensors"
    x = random_array("x", (2, 3)).astype(np.float32)
    given = {"jax": jnp.asarray(x, jnp.bfloat16), "big": x.astype(">f4"), "lazy": x}
    save_tensors(path, given)
    read = open_tensors(path)
    same(read["jax"], x.astype(ml_dtypes.bfloat16))
    same(read["big"], x)
    first = path.read_bytes()
    save_tensors(path, read)  # onto the file that the arrays are views of
    assert path.read_bytes() == first
    all_same(open_tensors(path), read)


def test_reading_is_a_view_and_writing_takes_one_array(tmp_path):
    size, path = 1 << 20, tmp_path / "x.safetensors"
    given = {str(n): np.full((size, 1), n, np.float32) for n in range(6)}
    tracemalloc.start()
    save_tensors(path, given)
    read = open_tensors(path)
    assert [float(read[name].max()) for name in sorted(read)] == list(range(6))
    save_tensors(tmp_path / "y.safetensors", {name: read[name].T for name in read})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < size  # bytes: a quarter of one array
    assert np.shares_memory(read["3"], read["3"])
    assert not read["3"].flags.writeable


def test_shards(tmp_path):
    path = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    given = {f"layer.{n}": np.full((10, 10), n, np.float32) for n in range(5)}
    save_tensors(path, given, shard_bytes=1000)
    shards = [f"diffusion_pytorch_model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    index = "diffusion_pytorch_model.safetensors.index.json"
    assert names_in(path.parent) == [*shards, index]
    assert json.loads((path.parent / index).read_text()) == {
        "metadata": {"total_size": 2000},
        "weight_map": {f"layer.{n}": shards[n // 2] for n in range(5)},
    }
    assert list(safetensors.numpy.load_file(path.parent / shards[2])) == ["layer.4"]
    assert find_weights(path.parent).name == index
    for spelling in (path, path.parent / index, path.parent):
        all_same(open_tensors(spelling), given)
    save_tensors(path, given, shard_bytes=400)
    assert len(names_in(path.parent)) == 6
    all_same(open_tensors(path), given)
    save_tensors(path, given)
    assert names_in(path.parent) == [path.name]
    all_same(open_tensors(path.parent), given)
    save_tensors(path, given, shard_bytes=1)
    assert path.name not in names_in(path.parent)


def test_shards_that_torch_wrote():
    all_same(open_tensors(cases_pickles.SHARDED), cases_pickles.weights())


def test_content_tells_the_format(tmp_path):
    x = {"w": np.arange(3.0)}
    save_tensors(tmp_path / "x.ckpt", x)
    all_same(open_tensors(tmp_path / "x.ckpt"), x)
    (tmp_path / "x.bin").write_bytes(cases_pickles.LEGACY.read_bytes())
    all_same(open_tensors(tmp_path / "x.bin"), cases_pickles.expected())


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        (["pytorch_model.bin", "model.safetensors"], "model.safetensors"),
        (["pytorch_model.bin", "model.fp16.safetensors"], "pytorch_model.bin"),
        (["model.fp16.safetensors", "model.bf16.safetensors"], "model.fp16.safetensors"),
        (["pytorch_model.fp16.bin", "config.json"], "pytorch_model.fp16.bin"),
        (
            ["diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors.index.json"],
            "diffusion_pytorch_model.safetensors.index.json",
        ),
        (["model.safetensors", "model.safetensors.index.json"], "model.safetensors"),
        (["model.safetensors.index.fp16.json"], "model.safetensors.index.fp16.json"),
        (["pytorch_model.bin.index.json"], "pytorch_model.bin.index.json"),
        (
            ["diffusion_pytorch_model.safetensors", "model.bin"],
            "diffusion_pytorch_model.safetensors",
        ),
    ],
)
def test_which_weights_of_a_folder(tmp_path, there, chosen):
    for name in there:
        (tmp_path / name).touch()
    assert find_weights(tmp_path) == tmp_path / chosen


def test_no_weights(tmp_path):
    (tmp_path / "config.json").touch()
    (tmp_path / "model.bin").mkdir()
    with pytest.raises(CheckpointError, match=r"holds no weights .* but config\.json, model\.bin"):
        find_weights(tmp_path)
    with pytest.raises(CheckpointError, match="is not a folder"):
        find_weights(tmp_path / "unet")
    with pytest.raises(CheckpointError, match=r"adapter, \.safetensors"):
        find_weights(tmp_path, stems=["adapter"])


def header(content, data=b"", *, length=None):
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BROKEN = {
    "empty": (b"", r"is empty; download it again"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "page": (b"\n<!DOCTYPE html><html>", "is a web page"),
    "text": (b"Not Found", "not a safetensors file"),
    "huge header": (header({"w": ENTRY}, length=1 << 40), "not a safetensors file"),
    "cut header": (header({"w": ENTRY}, length=5000), "cut short within its header"),
    "cut": (header({"w": ENTRY}, b"1234567"), r"is cut short: \d+ of \d+ bytes"),
    "no JSON": (header(b"{nonsense}"), "broken header"),
    "no entry": (header({"w": {"dtype": "F32"}}), "broken header"),
    "a list": (header({"w": [1]}), "broken header"),
    "fractional": (header({"w": {**ENTRY, "shape": [2.0]}}, bytes(8)), "broken header"),
    "size": (header({"w": {**ENTRY, "shape": [3]}}, bytes(8)), "w should have 12 bytes"),
    "negative": (header({"w": {**ENTRY, "shape": [-2, -1]}}, bytes(8)), "w should have"),
    "backwards": (header({"w": {**ENTRY, "data_offsets": [-8, 0]}}, bytes(8)), "w should have"),
    "type": (header({"w": {**ENTRY, "dtype": "F4"}}, bytes(8)), "type F4, which NumPy cannot hold"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named_in_one_sentence(tmp_path, kind):
    content, sentence = BROKEN[kind]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=sentence) as caught:
        open_tensors(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    if kind in ("empty", "pointer", "page", "text"):
        other = path.rename(tmp_path / "pytorch_model.bin")
        with pytest.raises(CheckpointError, match=r"pytorch_model\.bin"):
            open_tensors(other)


def test_missing_files(tmp_path):
    for name in ("x.safetensors", "x.pth", "x.safetensors.index.json"):
        with pytest.raises(CheckpointError, match="does not exist"):
            open_tensors(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            {"weight_map": {"w": "a.safetensors", "v": "b.safetensors"}},
            r"names b\.safetensors",
        ),
        ({"weight_map": {"v": "a.safetensors"}}, r"names v in a\.safetensors, which lacks it"),
        ({"weight_map": {"w": "../a.safetensors"}}, "is no file beside it"),
        ({"weight_map": {"w": "x.index.json"}}, "is no file beside it"),
        ({"weight_map": ["w"]}, "no index of shards"),
        ({}, "no index of shards"),
    ],
)
def test_a_broken_index(tmp_path, content, sentence):
    save_tensors(tmp_path / "a.safetensors", {"w": np.zeros(2)})
    index = tmp_path / "x.index.json"
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=sentence) as caught:
        open_tensors(index)
    assert str(index) in str(caught.value)
