import concurrent.futures
import dataclasses
import os
import pathlib
import sys
import warnings

import numpy as np
import pytest

from ldm_jax.eval import cache as module
from ldm_jax.eval.cache import FeatureCache, feature_key, fingerprint
from ldm_jax.eval.clips import Clip, content_hash
from tests.eval.clips.sounds import sound

WEIGHTS = "ab" * 32


@dataclasses.dataclass(frozen=True)
class Loading:
    rate: int = 16_000
    resampler: str = "soxr_hq"
    gain: float | None = None


@dataclasses.dataclass(frozen=True)
class OtherLoading(Loading):
    pass


def key_of(clip, loading=Loading(), network=("vggish", 96), weights=WEIGHTS):
    return feature_key(content=content_hash(clip), loading=loading, backbone=(network, weights))


def rows(seed=0):
    return {"features": np.random.default_rng(seed).normal(size=(10, 128)).astype(np.float32)}


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "cache")


def test_what_was_put_comes_back(cache, tmp_path):
    clip = Clip(name="a", path=sound(tmp_path / "a.wav"))
    key = key_of(clip)
    assert cache.get(key) is None
    arrays = rows() | {"logits": np.arange(3.0), "empty": np.zeros((0, 2), np.float16)}
    arrays["facts"] = np.array('{"seconds": 10.24, "é": 1}')
    cache.put(key, arrays)
    found = FeatureCache(cache.folder).get(key)
    assert {name: (x.dtype, x.tobytes()) for name, x in found.items()} == {
        name: (x.dtype, x.tobytes()) for name, x in arrays.items()
    }
    entries, size = cache.size()
    assert entries == 1
    assert size > arrays["features"].nbytes
    assert cache.clear() == 1
    assert cache.get(key) is None
    assert cache.size() == (0, 0)


def test_no_change_finds_the_old_entry(cache, tmp_path, monkeypatch):
    path = sound(tmp_path / "a.wav", seed=0)
    time = path.stat()
    clip = Clip(name="a", path=path)
    first = key_of(clip)
    assert first == key_of(clip)
    moved = Clip(name="other", path=path.rename(tmp_path / "b.flac"))
    assert key_of(moved) == first

    keys = {
        first,
        key_of(moved, Loading(rate=32_000)),
        key_of(moved, Loading(resampler="kaiser")),
        key_of(moved, Loading(gain=0.0)),
        key_of(moved, network=("vggish", 96.0)),
        key_of(moved, network=("cnn14", 96)),
        key_of(moved, weights="cd" * 32),
        key_of(dataclasses.replace(moved, start=1.0)),
        key_of(dataclasses.replace(moved, seconds=1.0)),
    }
    # The same name, length and times, and another sound.
    sound(path, seed=1)
    os.utime(path, ns=(time.st_atime_ns, time.st_mtime_ns))
    assert path.stat().st_size == time.st_size
    assert path.stat().st_mtime_ns == time.st_mtime_ns
    keys.add(key_of(clip))
    sound(path, seed=0)
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    keys.add(key_of(clip))
    monkeypatch.undo()
    monkeypatch.setattr(module, "_versions", lambda: ("soxr 99",))
    keys.add(key_of(clip))
    assert len(keys) == 12


def test_fingerprints_tell_all_apart():
    values = [
        1,
        1.0,
        True,
        "1",
        None,
        "None",
        (),
        (1,),
        ((1,),),
        (1, 1),
        ("1", "1"),
        ("11",),
        {"a": 1},
    ]
    values += [
        {"a": 2},
        {"b": 1},
        (("a", 1),),
        Loading(),
        Loading(rate=8000),
        OtherLoading(),
        [("mapping",)],
        "mapping",
    ]
    assert len({fingerprint(value) for value in values}) == len(values)
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint([1, 2]) == fingerprint((1, 2))
    for bad in (len, np.zeros(3), pathlib.Path("a"), {"a": object()}):
        with pytest.raises(TypeError, match="cannot be part of a cache's key"):
            fingerprint(bad)


def broken(content, kind):
    return {
        "empty": b"",
        "cut": content[: len(content) // 2],
        "turned": content[:3000] + bytes([content[3000] ^ 1]) + content[3001:],
        "text": b"<html>not found</html>",
    }[kind]


@pytest.mark.parametrize("kind", ["empty", "cut", "turned", "text"])
def test_damaged_entries_are_absent_and_said_once(cache, kind):
    keys = ["1" * 64, "2" * 64]
    for key in keys:
        cache.put(key, rows())
        (path,) = (cache.folder / key[:2]).iterdir()
        path.write_bytes(broken(path.read_bytes(), kind))
    with pytest.warns(UserWarning, match=r"is damaged and computed again \(") as said:
        assert [cache.get(key) for key in keys] == [None, None]
    assert len(said) == 1
    cache.put(keys[0], rows(1))
    found = cache.get(keys[0])
    np.testing.assert_array_equal(found["features"], rows(1)["features"])


def test_an_entry_under_another_name_is_absent(cache):
    one, other = "1" * 64, "12" + "3" * 62
    cache.put(one, rows())
    (path,) = (cache.folder / "11").iterdir()
    (cache.folder / "12").mkdir()
    path.rename(cache.folder / "12" / f"{other}.npz")
    with pytest.warns(UserWarning, match="other features than its name says"):
        assert cache.get(other) is None


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    cache = FeatureCache(tmp_path / "file")
    with pytest.warns(UserWarning, match="cannot be kept in"):
        cache.put("1" * 64, rows())
    cache.put("2" * 64, rows())  # a second warning would be an error


def test_only_numbers(cache):
    with pytest.raises(ValueError, match="the features bad are not numbers"):
        cache.put("1" * 64, {"bad": np.array([None])})
    assert cache.size() == (0, 0)


def test_clear_takes_what_was_interrupted_and_nothing_else(cache):
    cache.put("1" * 64, rows())
    (cache.folder / "11" / ".111-x.npz").write_text("")
    (cache.folder / "11" / "mine.npz").write_text("")
    (cache.folder / "notes").mkdir()
    (cache.folder / "notes" / f"{'1' * 64}.npz").write_text("")
    assert cache.clear() == 2
    left = sorted(path.name for path in cache.folder.rglob("*.npz"))
    assert left == [f"{'1' * 64}.npz", "mine.npz"]


def _write_and_read(folder, worker):
    cache, wrong = FeatureCache(pathlib.Path(folder)), 0
    warnings.simplefilter("error")
    for turn in range(40):
        seed = (worker + turn) % 4
        cache.put(f"{seed:02x}" * 32, rows(seed))
        other = (seed + 1) % 4
        if found := cache.get(f"{other:02x}" * 32):
            wrong += not np.array_equal(found["features"], rows(other)["features"])
    return wrong


def test_processes_share_a_folder(tmp_path):
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=context) as pool:
        wrong = list(pool.map(_write_and_read, [str(tmp_path)] * 3, range(3)))
    assert wrong == [0, 0, 0]
    assert FeatureCache(tmp_path).size()[0] == 4
    assert len(list(tmp_path.rglob("*.*"))) == 4


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = FeatureCache()
    assert cache.folder == tmp_path / "ldm_jax" / "eval" / "features"
    cache.put("1" * 64, rows())
    for arguments, left in (([], 1), (["--clear"], 0)):
        monkeypatch.setattr(sys, "argv", ["cache", *arguments])
        assert module.main() == 0
        assert capsys.readouterr().out.startswith("1 entries, 0.0 MB")
        assert cache.size()[0] == left
