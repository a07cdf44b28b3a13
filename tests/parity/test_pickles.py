"""Our readers and writers against PyTorch's own, in both directions."""

import argparse
import json
import pathlib
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from transformers.modeling_utils import load_sharded_checkpoint

from ldm_jax.convert.files import open_tensors, save_tensors
from ldm_jax.convert.lazy import DTYPES, LazyArray
from ldm_jax.convert.pickles import read_pickle, state_dict
from ldm_jax.convert.unpickler import Opaque
from tests import cases_pickles as cases
from tests.parity import goldens_pickles
from tests.parity.goldens_pickles import tensor as to_torch

FORMATS = pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])


def to_numpy(x):
    """PyTorch's numbers in NumPy, byte for byte."""
    x = x.detach()
    dtype = DTYPES[str(x.dtype).removeprefix("torch.")]
    integer = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    if dtype.kind == "c":
        return x.resolve_conj().numpy()
    return x.contiguous().view(integer[dtype.itemsize]).numpy().view(dtype)


def same(ours, theirs):
    theirs = to_numpy(theirs)
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    assert ours.tobytes() == theirs.tobytes()


def saved(tmp_path, value, new):
    path = tmp_path / "file.pth"
    torch.save(value, path, _use_new_zipfile_serialization=new)
    return path


def test_goldens_hold_what_torch_loads_from_them():
    theirs = torch.load(cases.ZIP, weights_only=True)
    assert theirs.keys() == cases.expected().keys()
    for name, array in cases.expected().items():
        same(array, theirs[name])
    for path in (cases.LIGHTNING, cases.LIGHTNING_LEGACY):
        theirs = torch.load(path, weights_only=False)["state_dict"]
        for name, array in cases.weights().items():
            same(array, theirs[name])
    assert sum(path.stat().st_size for path in cases.files()) < 50_000


@FORMATS
@pytest.mark.parametrize("name", sorted(DTYPES))
def test_every_type(tmp_path, name, new):
    x = torch.arange(-6, 18).reshape(4, 6).float().to(getattr(torch, name))
    theirs = {"w": x, "view": x.T[1:3], "empty": x[:0], "scalar": x[1, 1]}
    tensors, left = state_dict(saved(tmp_path, theirs, new))
    assert left == []
    for key, value in theirs.items():
        same(tensors[key], value)


@FORMATS
def test_random_views(tmp_path, new):
    """Any offset and strides that slicing, transposing, expanding and unfolding give."""
    generator = np.random.default_rng(0)
    base = torch.from_numpy(generator.standard_normal((4, 5, 6)).astype(np.float32))
    views = {}
    for number in range(80):
        x = base.permute(*generator.permutation(3).tolist())
        for axis in range(3):
            start = int(generator.integers(0, x.shape[axis]))
            x = x.narrow(axis, start, int(generator.integers(0, x.shape[axis] - start + 1)))
            if generator.random() < 0.3 and x.shape[axis]:
                x = x.select(axis, 0).unsqueeze(axis).expand(*x.shape)
        step = int(generator.integers(1, 3))
        views[str(number)] = x[..., ::step]
    assert sum(not view.is_contiguous() for view in views.values()) > 20
    tensors, _ = state_dict(saved(tmp_path, views, new))
    for name, view in views.items():
        same(tensors[name], view)


@FORMATS
def test_networks_and_what_training_saves_with_them(tmp_path, new):
    network = torch.nn.Sequential(
        torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(2, 3, 3)),
        torch.nn.utils.weight_norm(torch.nn.Linear(3, 3)),  # as HiFi-GAN's file has it
        torch.nn.BatchNorm1d(3),
    ).to(torch.bfloat16)
    optimizer = torch.optim.AdamW(network.parameters())
    value = {
        "state_dict": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "arguments": argparse.Namespace(num_layers=2),
        "network": torch.nn.Linear(2, 2),
        "generator": torch.Generator().get_state(),
        "sparse": torch.eye(3).to_sparse(),
        "quantised": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        "conjugate": torch.ones(2, dtype=torch.complex64).conj(),
        "kinds": (torch.float16, torch.device("cuda", 1)),
        "array": np.arange(6.0).reshape(2, 3)[:, ::2],
        "moment": np.float32(1.5),
    }
    path = saved(tmp_path, value, new)
    tensors, left = state_dict(path)
    assert left == [name for name in value if name != "state_dict"]
    assert list(tensors) == list(network.state_dict())
    for name, theirs in network.state_dict().items():
        same(tensors[name], theirs)
    tree = read_pickle(path)
    assert tree["arguments"].state["num_layers"] == 2
    assert tree["kinds"][1] == "cuda:1"
    assert tree["moment"] == 1.5
    np.testing.assert_array_equal(tree["array"], value["array"])
    parameters = tree["network"].state["_parameters"]
    same(parameters["weight"].read(), value["network"].weight)
    for name in ("sparse", "quantised", "conjugate"):
        assert isinstance(tree[name], Opaque)
    assert isinstance(tree["generator"], LazyArray)


def test_parameters_with_attributes_and_subclasses(tmp_path):
    marked = torch.nn.Parameter(torch.arange(3.0))
    marked.sequence_parallel = True
    buffer = torch.nn.Buffer(torch.arange(4.0))
    path = saved(tmp_path, {"marked": marked, "buffer": buffer}, True)
    tensors, _ = state_dict(path)
    same(tensors["marked"], marked)
    same(tensors["buffer"], buffer)


def test_big_endian_files(tmp_path):
    """A file marked big-endian is read by PyTorch with its bytes swapped; so by us."""
    x = {
        name: torch.arange(1, 7).to(getattr(torch, name))
        for name in ("float32", "bfloat16", "int64", "complex64", "bool")
    }
    path, other = saved(tmp_path, x, True), tmp_path / "big.pth"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for entry in old.infolist():
            big = entry.filename.endswith("/byteorder")
            new.writestr(entry.filename, b"big" if big else old.read(entry))
    tensors, _ = state_dict(other)
    for name, theirs in torch.load(other, weights_only=True).items():
        same(tensors[name], theirs)
        assert name == "bool" or not torch.equal(theirs, x[name])


class Evil:
    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return pathlib.Path.touch, (self.sentinel,)


@FORMATS
def test_objects_that_run_code_when_torch_loads_them(tmp_path, new):
    sentinel = tmp_path / "sentinel"
    path = saved(tmp_path, {"w": torch.ones(2), "evil": Evil(sentinel)}, new)
    tensors, left = state_dict(path)
    same(tensors["w"], torch.ones(2))
    assert left == ["evil"]
    assert not sentinel.exists()
    torch.load(path, weights_only=False)
    assert sentinel.exists()


def test_torch_reads_what_we_write(tmp_path):
    arrays = {
        name: np.asarray(x, order="C")
        for name, x in cases.expected().items()
        if x.dtype != np.complex64
    }
    path = tmp_path / "model.safetensors"
    save_tensors(path, arrays)
    theirs = safetensors.torch.load_file(path)
    assert theirs.keys() == arrays.keys()
    for name, array in arrays.items():
        same(array, theirs[name])
    path = tmp_path / "theirs.safetensors"
    safetensors.torch.save_file({name: to_torch(x) for name, x in arrays.items()}, path)
    back = open_tensors(path)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert back[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("shard_bytes", [1 << 30, 3000])
def test_transformers_loads_what_we_write(tmp_path, shard_bytes):
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 2, "num_heads": 2}
    config = transformers.T5Config(vocab_size=32, **sizes)
    first, second = transformers.T5EncoderModel(config), transformers.T5EncoderModel(config)
    arrays = {name: to_numpy(x) for name, x in first.state_dict().items()}
    del arrays["encoder.embed_tokens.weight"]  # tied
    save_tensors(tmp_path / "model.safetensors", arrays, shard_bytes=shard_bytes)
    config.save_pretrained(tmp_path)
    third = transformers.T5EncoderModel.from_pretrained(tmp_path)
    for name, x in third.state_dict().items():
        assert torch.equal(x, first.state_dict()[name])
    if shard_bytes < 1 << 20:
        index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
        assert len(set(index["weight_map"].values())) > 1
        load_sharded_checkpoint(second, tmp_path, strict=False)
        assert torch.equal(second.shared.weight, first.shared.weight)


@pytest.mark.parametrize("safe", [True, False])
def test_we_read_what_transformers_shards(tmp_path, safe):
    config = transformers.GPT2Config(n_embd=8, n_layer=3, n_head=2, vocab_size=40, n_positions=16)
    network = transformers.GPT2Model(config).to(torch.bfloat16)
    network.save_pretrained(tmp_path, max_shard_size="2KB", safe_serialization=safe)
    assert len(list(tmp_path.glob("*-of-*"))) > 1
    tensors = open_tensors(tmp_path)
    assert tensors["wte.weight"].dtype == ml_dtypes.bfloat16
    assert set(tensors) == set(network.state_dict())
    for name, x in network.state_dict().items():
        same(tensors[name], x)


def test_goldens_are_those_that_are_written_now(tmp_path, monkeypatch):
    """The kept files still hold what today's `write` makes."""
    for name in ("ZIP", "LEGACY", "LIGHTNING", "LIGHTNING_LEGACY", "GENERATOR"):
        monkeypatch.setattr(cases, name, tmp_path / getattr(cases, name).name)
    kept = state_dict(cases.PICKLES / "plain.pth")[0]
    monkeypatch.setattr(cases, "SHARDED", tmp_path)
    goldens_pickles.write()
    new = state_dict(cases.ZIP)[0]
    assert list(new) == list(kept)
    assert all(new[name].tobytes() == kept[name].tobytes() for name in kept)
