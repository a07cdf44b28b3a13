import pickle
import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest

from ldm_jax.convert.lazy import CheckpointError, LazyArray
from ldm_jax.convert.pickles import read_pickle, state_dict
from ldm_jax.convert.unpickler import Opaque
from tests import cases_pickles as cases
from tests.convert.pickle_bytes import (
    called,
    dictionary,
    plain,
    storage,
    tensor,
    write_legacy,
    write_zip,
)
from tests.golden import random_array

SIX = np.arange(6, dtype=np.float32)


def equal(ours, theirs):
    """The same type, shape and bytes."""
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    assert ours.tobytes() == theirs.tobytes()


def written(tmp_path, items, storages=None, *, legacy=False, **options):
    storages = {"0": SIX} if storages is None else storages
    write = write_legacy if legacy else write_zip
    return write(tmp_path / "file.pth", dictionary(items), storages, **options)


@pytest.mark.parametrize("path", [cases.ZIP, cases.LEGACY], ids=["zip", "legacy"])
def test_every_type_and_view_that_torch_wrote(path):
    tensors, left = state_dict(path)
    expected = cases.expected()
    assert left == []
    assert list(tensors) == list(expected)
    for name, array in expected.items():
        equal(tensors[name], array)
        assert tensors.arrays[name].shape == array.shape
        assert tensors.arrays[name].dtype == array.dtype
        equal(np.asarray(tensors.arrays[name]), array)


@pytest.mark.parametrize("path", [cases.ZIP, cases.LEGACY], ids=["zip", "legacy"])
def test_arrays_are_views_of_the_file(path):
    tensors, _ = state_dict(path)
    assert np.shares_memory(tensors["base"], tensors["transposed"])
    assert np.shares_memory(tensors["base"], tensors["base"])
    assert tensors["transposed"].strides == (4, 24)
    assert not tensors["base"].flags.writeable


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_reading_tensor_by_tensor_takes_no_memory(tmp_path, legacy):
    count, size = 8, 1 << 20
    storages = {str(n): np.full(size, n, np.float32) for n in range(count)}
    items = {f"w{n}": tensor(str(n), size, (size,), (1,)) for n in range(count)}
    path = written(tmp_path, items, storages, legacy=legacy)
    del storages
    tracemalloc.start()
    tensors, _ = state_dict(path)
    sums = [float(tensors[name].max()) for name in tensors]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sums == list(range(count))
    assert peak < size  # a quarter of one tensor's 4 MiB


@pytest.mark.parametrize("path", [cases.LIGHTNING, cases.LIGHTNING_LEGACY], ids=["zip", "legacy"])
def test_a_training_checkpoint_and_what_hangs_on_it(path):
    tree = read_pickle(path)
    assert tree["epoch"] == 3
    assert tree["loss"] == 0.25
    assert tree["tags"] == {"a"}
    assert tree["device"] == "cpu"
    assert tree["bytes"] == b"\x00\xff"
    equal(tree["history"].read(), np.arange(6, dtype=np.int32).reshape(2, 3, order="F"))
    equal(tree["optimizer_states"][0]["state"][0]["step"].read(), np.float32(1)[...])
    settings = tree["hyper_parameters"]
    assert isinstance(settings, Opaque)
    assert settings.name == "argparse.Namespace"
    assert settings.state["lr"] == 1e-4
    assert settings.state["size"] == (2, 3)
    ((kind, callback),) = tree["callbacks"].items()
    assert isinstance(callback, kind)
    equal(callback.state["best"].read(), np.ones(2, np.float32))
    assert callback.state["monitor"].name == "functools.partial"
    assert tree["path"].arguments == ("/", "data")
    assert tree["counts"].mapping == {"seen": 2}
    with pytest.raises(CheckpointError, match="other things than numbers"):
        tree["names"].read()

    tensors, left = state_dict(path)
    assert list(tensors) == list(cases.weights())
    for name, array in cases.weights().items():
        equal(tensors[name], array)
    assert left == [key for key in tree if key != "state_dict"]


def test_wrappers_are_opened_and_leftovers_named(tmp_path):
    tensors, left = state_dict(cases.GENERATOR)
    assert left == []
    equal(tensors["conv.bias"], cases.weights()["conv.bias"])

    inner = dictionary({"w": tensor(), "note": plain("x")})[2:-1]
    middle = dictionary({"module": inner, "step": plain(1)})[2:-1]
    path = written(tmp_path, {"epoch": plain(2), "model": middle, "state_dict": plain({})})
    tensors, left = state_dict(path)
    assert list(tensors) == ["w"]
    assert left == ["epoch", "state_dict", "model.step", "model.module.note"]

    # A tensor may be called like a wrapper, and a dictionary of another class is one too.
    path = written(tmp_path, {"model": tensor(), "w": tensor(offset=3, shape=(3,), strides=(1,))})
    tensors, left = state_dict(path)
    equal(tensors["model"], SIX.reshape(2, 3))
    equal(tensors["w"], SIX[3:])
    custom = called("lightning AttributeDict") + plain("w") + tensor() + b"s"
    assert list(state_dict(written(tmp_path, {"state_dict": custom}))[0]) == ["w"]


@pytest.mark.parametrize("items", [{}, {"epoch": plain(1)}, {"model": called("my Network")}])
def test_no_tensors(tmp_path, items):
    with pytest.raises(CheckpointError, match=r"no dictionary of tensors .*save a state_dict"):
        state_dict(written(tmp_path, items))


def weapons(sentinel):
    """Pushes that create `sentinel` when a careless reader loads them."""
    command, code = plain(f"touch {sentinel}"), plain(f"open({str(sentinel)!r}, 'w').close()")
    arguments, listed = b"(" + command + b"t", b"(" + command + b"l"
    system = b"cposix\nsystem\n"
    module = called("builtins __import__", plain("os"))
    got = called("builtins getattr", module, plain("system")) + arguments + b"R"
    state = b"}" + plain("a") + got + b"s"
    subclass = (system, b"ctorch\nTensor\n", arguments, plain({}))
    return {
        "reduce": system + arguments + b"R",
        "eval": called("builtins eval", code),
        "python 2's name": called("__builtin__ eval", code),
        "getattr": got,
        "map": called("builtins list", called("builtins map", system, listed)),
        "inst": b"(" + command + b"iposix\nsystem\n",
        "obj": b"(" + system + command + b"o",
        "newobj": b"cbuiltins\ntuple\n(cbuiltins\nmap\n(" + system + listed + b"t\x81t\x81",
        "setstate": called("types SimpleNamespace") + state + b"b",
        "subclass": called("torch._tensor _rebuild_from_type_v2", *subclass),
    }


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", weapons("x"))
def test_nothing_of_a_hostile_pickle_runs(tmp_path, kind, legacy):
    sentinel = tmp_path / "sentinel"
    weapon = weapons(sentinel)[kind]
    if kind != "subclass":  # that takes PyTorch
        pickle.loads(b"\x80\x02" + weapon + b".")
        assert sentinel.exists(), "the weapon is blunt"
        sentinel.unlink()
    path = written(tmp_path, {"weapon": weapon, "w": tensor()}, legacy=legacy)
    tensors, left = state_dict(path)
    equal(tensors["w"], SIX.reshape(2, 3))
    assert left == ["weapon"]
    assert isinstance(read_pickle(path)["weapon"], Opaque)
    assert not sentinel.exists()


def test_a_pickle_cannot_change_a_checked_tensor(tmp_path):
    state = plain({"shape": (1 << 40,), "_read": None, "offset": -8})
    path = written(tmp_path, {"w": tensor() + state + b"b"})
    equal(state_dict(path)[0]["w"], SIX.reshape(2, 3))
    slots = b"(" + plain(None) + plain({"size": 1 << 40}) + b"t"
    with pytest.raises(CheckpointError):
        state_dict(written(tmp_path, {"w": storage("0", 6) + slots + b"b"}))
    assert Opaque().arguments == ()
    assert isinstance(read_pickle(cases.ZIP)["base"], LazyArray)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"offset": 1},
        {"offset": -1},
        {"shape": (2, 4)},
        {"shape": (7,), "strides": (1,)},
        {"strides": (-3, 1)},
        {"strides": (1 << 62, 1)},
        {"shape": (2.0, 3)},
        {"numel": 7},
        {"key": "1"},
        {"kind": "DoubleStorage"},
    ],
    ids=str,
)
def test_a_tensor_must_lie_within_its_storage(tmp_path, wrong, legacy):
    path = written(tmp_path, {"w": tensor(**wrong)}, legacy=legacy)
    with pytest.raises(CheckpointError, match=str(path)):
        state_dict(path)


def test_what_is_not_a_dense_tensor_is_left_out(tmp_path):
    items = {
        "unknown": tensor(kind="QUInt4x2Storage"),
        "sparse": called("torch._utils _rebuild_sparse_tensor", plain("coo"), plain((1, 2))),
        "conjugate": called(
            "torch._utils _rebuild_tensor_v2",
            *(storage("0", 6), plain(0), plain((6,)), plain((1,)), plain(False), plain({})),
            plain({"conj": True}),
        ),
        "w": tensor(),
    }
    tensors, left = state_dict(written(tmp_path, items))
    assert list(tensors) == ["w"]
    assert left == ["unknown", "sparse", "conjugate"]
    path = written(tmp_path, {"unknown": items["unknown"]}, legacy=True)
    with pytest.raises(CheckpointError, match="storage 0 is of a type that is not known"):
        state_dict(path)


def test_a_storage_within_another(tmp_path):
    items = {"w": tensor("legacy", 6, (2,), (1,), 1, view=("part", 2, 4))}
    path = written(tmp_path, items, {"legacy": SIX}, legacy=True)
    equal(state_dict(path)[0]["w"], SIX[3:5])
    items = {"w": tensor("legacy", 6, (2,), (1,), 1, view=("part", 4, 3))}
    with pytest.raises(CheckpointError, match="reaches beyond"):
        state_dict(written(tmp_path, items, {"legacy": SIX}, legacy=True))


@pytest.mark.parametrize(
    ("kind", "dtype", "unit"),
    [
        ("FloatStorage", np.float32, 4),
        ("BFloat16Storage", ml_dtypes.bfloat16, 2),
        ("ComplexFloatStorage", np.complex64, 4),
        ("LongStorage", np.int64, 8),
        ("BoolStorage", np.bool_, 1),
    ],
)
def test_big_endian_files(tmp_path, kind, dtype, unit):
    x = (random_array(kind, (4, 6)) * 10).astype(dtype)
    foreign = x.reshape(-1).view(f"u{unit}").byteswap()
    items = {"w": tensor(numel=24, shape=(3, 4), strides=(1, 6), offset=2, kind=kind)}
    path = written(tmp_path, items, {"0": foreign}, byteorder=b"big")
    equal(state_dict(path)[0]["w"], x.T[2:5])


def test_compressed_by_another_program(tmp_path):
    zeros = np.zeros(1 << 12, np.float32)
    items = {"w": tensor(numel=zeros.size, shape=(64, 64), strides=(64, 1))}
    path = written(tmp_path, items, {"0": zeros}, compression=zipfile.ZIP_DEFLATED)
    equal(state_dict(path)[0]["w"], zeros.reshape(64, 64))
    packed = bytearray(path.read_bytes())
    packed[packed.index(b"archive/data/0") + len(b"archive/data/0") + 4] ^= 0xFF
    path.write_bytes(packed)
    tree = read_pickle(path)  # opened without being unpacked
    with pytest.raises(CheckpointError, match="archive/data/0 is damaged"):
        tree["w"].read()


def test_numbers_that_numpy_pickled(tmp_path):
    def dtype(code, order):
        state = plain((3, order, None, None, None, -1, -1, 0))
        return called("numpy dtype", plain(code), plain(False), plain(True)) + state + b"b"

    core = "numpy.core.multiarray"
    big = SIX.astype(">f4").tobytes().decode("latin1")  # as Python 2 pickled it
    text = b"T" + len(big).to_bytes(4, "little") + big.encode("latin1")
    new = called(f"{core} _reconstruct", b"cnumpy\nndarray\n", plain((0,)), plain("b"))
    state = b"(" + plain(1) + plain((2, 3)) + dtype("f4", ">") + plain(False) + text + b"tb"
    tree = read_pickle(
        written(
            tmp_path,
            {
                "scalar": called(f"{core} scalar", dtype("i2", ">"), plain(b"\x01\x02")),
                "string": called(f"{core} scalar", dtype("S2", "|"), plain(b"ab")),
                "array": new + state,
            },
        )
    )
    assert tree["scalar"] == 0x0102
    assert isinstance(tree["string"], Opaque)
    equal(tree["array"].read(), SIX.reshape(2, 3))


@pytest.mark.parametrize("path", [cases.ZIP, cases.LEGACY], ids=["zip", "legacy"])
def test_a_file_cut_anywhere_is_refused(tmp_path, path):
    whole = path.read_bytes()
    cut = tmp_path / "cut.pth"
    for length in range(0, len(whole), 61):
        cut.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"cut\.pth.*(again|newer)"):
            state_dict(cut)


@pytest.mark.parametrize("path", [cases.LIGHTNING, cases.LIGHTNING_LEGACY, cases.LEGACY])
def test_damage_is_refused_or_harmless(tmp_path, path):
    """A random byte changed: an error of ours, or arrays that can be read."""
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    random = np.random.default_rng(0)
    damaged, refused = tmp_path / "damaged.pth", 0
    for _ in range(60):
        data = whole.copy()
        data[random.integers(len(data))] = random.integers(256)
        damaged.write_bytes(data.tobytes())
        try:
            tensors, _ = state_dict(damaged)
        except CheckpointError:
            refused += 1
        else:
            assert all(tensors[name].tobytes() is not None for name in tensors)
    assert 6 < refused < 60


def test_other_files_are_named(tmp_path):
    path = write_zip(tmp_path / "x.pt", dictionary({}), {}, **{"constants.pkl": b"."})
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_pickle(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.jpg", b"")
    with pytest.raises(CheckpointError, match=r"zip archive, but not one of torch\.save"):
        read_pickle(path)
    path.write_bytes(pickle.dumps({"w": 1}))
    with pytest.raises(CheckpointError, match=r"pickle, but not one of torch\.save"):
        read_pickle(path)
    path.write_bytes(b"\0" * 257 + b"ustar" + b"\0" * 250)
    with pytest.raises(CheckpointError, match=r"PyTorch 0\.1"):
        read_pickle(path)
    path.write_bytes(b"not weights " * 100)
    with pytest.raises(CheckpointError, match="neither safetensors nor"):
        read_pickle(path)
    content = b"\x80\x02" + plain("0") + b"Q."
    with pytest.raises(CheckpointError):
        read_pickle(write_zip(path, content, {}))


def test_a_pickle_cannot_ask_for_all_memory(tmp_path):
    content = b"\x80\x02}r\xff\xff\xff\x3f."  # memo number 2^30 - 1
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="memo 1073741823"):
        read_pickle(write_zip(tmp_path / "x.pth", content, {}))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 22
    with pytest.raises(CheckpointError, match="extension code"):
        read_pickle(write_zip(tmp_path / "x.pth", b"\x80\x02\x82\x01.", {}))
