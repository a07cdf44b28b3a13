"""Features on disk, by all that they depend on. `python -m ldm_jax.eval.cache` tells its size.

An entry is found only under the SHA-256 of the clip's content, of how it is loaded, of the network and its
weights, and of the code, so that no file, setting or checkpoint that has changed can meet the features of another.
Any number of processes may read and write one folder: entries appear whole, and two that write the same write
the same.
"""

import argparse
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import pathlib
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ldm_jax.audio.files import whole_file

# To be raised with every change to loading, front ends or networks that changes features.
VERSION = 1
# Whose versions count: what decodes, resamples and computes.
LIBRARIES = ("ldm_jax", "jax", "jaxlib", "librosa", "numpy", "scipy", "soundfile", "soxr")
_KEY = "__key__"


def home() -> pathlib.Path:
    """The folder of what evaluation keeps: ~/.cache/ldm_jax/eval, or below XDG_CACHE_HOME."""
    root = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    return root / "ldm_jax" / "eval"


def fingerprint(value: Any) -> str:
    """SHA-256 in hexadecimal of a plain value: every field of a dataclass, every item of a mapping or sequence.

    Raises:
        TypeError: something in it of which not all is known by its value, such as a function or an array.
    """
    text = json.dumps(_plain(value), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """As JSON with the types in it, so that 1, 1.0, "1" and (1,) differ."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        known = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return [type(value).__qualname__, _plain(known)]
    if isinstance(value, Mapping):
        return ["mapping", sorted(([_plain(k), _plain(v)] for k, v in value.items()), key=repr)]
    if isinstance(value, tuple | list):
        return ["sequence", [_plain(one) for one in value]]
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    raise TypeError(f"{type(value).__name__} cannot be part of a cache's key: {str(value)[:60]}")


def feature_key(*, content: str, loading: Any, backbone: Any) -> str:
    """SHA-256 in hexadecimal of everything that features depend on, this code and its libraries among them.

    Args:
        content: of the clip, from `clips.content_hash`.
        loading: all that is done to the sound before the network; see `fingerprint` for what it may be.
        backbone: the network, its weights' SHA-256, and what is taken from it; likewise.
    """
    return fingerprint(((VERSION, _versions()), content, loading, backbone))


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureCache:
    """Named arrays by key.

    Attributes:
        folder: holds a folder for each first two digits of a key, and in it a .npz file for each key.
    """

    folder: pathlib.Path = dataclasses.field(default_factory=lambda: home() / "features")
    _said: set[str] = dataclasses.field(default_factory=set, init=False, repr=False)

    def get(self, key: str) -> dict[str, np.ndarray] | None:
        """What was put under the key; None where nothing was, or where it is damaged, which is said once."""
        path = self._path(key)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            whose = str(arrays.pop(_KEY))
        except FileNotFoundError:
            return None
        except Exception as error:  # zipfile and numpy raise a dozen kinds for damaged files
            self._say("damaged", f"{path} is damaged and computed again ({_line(error)})")
            return None
        if whose != key:
            self._say("damaged", f"{path} holds other features than its name says; computed again")
            return None
        return arrays

    def put(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Stores arrays of numbers or text. Where the folder cannot be written that is said once.

        Raises:
            ValueError: an array of other objects.
        """
        if bad := [name for name, array in arrays.items() if array.dtype.hasobject]:
            raise ValueError(f"the features {bad[0]} are not numbers")
        try:
            with whole_file(self._path(key)) as temporary:
                np.savez(temporary, allow_pickle=False, **{**arrays, _KEY: np.array(key)})
        except OSError as error:
            self._say("closed", f"features cannot be kept in {self.folder}: {_line(error)}")

    def size(self) -> tuple[int, int]:
        """(number of entries, bytes)."""
        sizes = []
        for path in self._entries():
            try:
                sizes.append(path.stat().st_size)
            except FileNotFoundError:  # cleared by another process
                continue
        return len(sizes), sum(sizes)

    def clear(self) -> int:
        """Removes all entries and what interrupted processes left; the number of files that went."""
        gone = 0
        for path in self._entries():
            path.unlink(missing_ok=True)
            gone += 1
        return gone

    def _path(self, key: str) -> pathlib.Path:
        return self.folder / key[:2] / f"{key}.npz"

    def _entries(self) -> Iterator[pathlib.Path]:
        return (
            path
            for path in self.folder.glob("[0-9a-f][0-9a-f]/*.npz")
            if len(path.stem) == 64 or path.name.startswith(".")
        )

    def _say(self, kind: str, text: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            warnings.warn(text, stacklevel=3)


@functools.cache
def _versions() -> tuple[str, ...]:
    return tuple(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def main() -> int:
    """Tells where the features are and how large; 0, or 2 where they cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m ldm_jax.eval.cache", description=__doc__)
    parser.add_argument("--cache", type=pathlib.Path, default=home() / "features", metavar="FOLDER")
    parser.add_argument("--clear", action="store_true", help="remove them")
    arguments = parser.parse_args()
    cache = FeatureCache(arguments.cache)
    try:
        entries, size = cache.size()
        if arguments.clear:
            cache.clear()
    except OSError as error:
        print(f"ldm_jax.eval.cache: {error}", file=sys.stderr)
        return 2
    done = "removed from" if arguments.clear else "in"
    print(f"{entries:,} entries, {size / 1e6:.1f} MB {done} {cache.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
