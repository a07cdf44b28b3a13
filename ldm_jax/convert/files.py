"""Files of weights, found, opened and written; what is written appears whole or not at all."""

import contextlib
import functools
import glob
import hashlib
import json
import os
import pathlib
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ldm_jax.audio.files import whole_file
from ldm_jax.convert.lazy import CheckpointError, LazyArray, LazyTensors, map_file
from ldm_jax.convert.pickles import state_dict
from ldm_jax.convert.safetensors_file import (
    check_storable,
    is_safetensors,
    read_safetensors,
    write_safetensors,
)

STEMS = ("model", "diffusion_pytorch_model", "pytorch_model")
VARIANTS = ("fp32", "fp16", "bf16")
SHARD_BYTES = 5_000_000_000


def open_tensors(path: str | pathlib.Path) -> LazyTensors:
    """The tensors of a file, of a sharded set (by its `.index.json`), or of a folder with either.

    Nothing is read yet: an array is read, as a view of the mapped file where possible, when the
    mapping is asked for it. The format is told by content. A `.safetensors` or `.bin` that was
    sharded may be named unsharded.

    Raises:
        CheckpointError: no such file, or a broken one.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        path = find_weights(path)
    if path.suffix == ".json":
        return _open_sharded(path)
    index = path.with_name(f"{path.name}.index.json")
    if index.exists() and not path.exists():
        return _open_sharded(index)
    if path.suffix == ".safetensors" or is_safetensors(map_file(path)[:9]):
        return read_safetensors(path)[0]
    return state_dict(path)[0]


def _open_sharded(index: pathlib.Path) -> LazyTensors:
    try:
        shard_of = json.loads(index.read_text("utf-8"))["weight_map"]
        shards = sorted(set(shard_of.values()))
        if odd := [x for x in shards if pathlib.PurePath(x).name != x or x.endswith(".json")]:
            raise ValueError(f"{odd[0]!r} is no file beside it")
    except FileNotFoundError:
        raise CheckpointError(f"{index} does not exist") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{index} is no index of shards ({type(error).__name__}: {error}); download it again"
        ) from None
    if missing := [shard for shard in shards if not (index.parent / shard).is_file()]:
        raise CheckpointError(
            f"{index} names {', '.join(missing)}, missing beside it; download the rest"
        )
    opened = {shard: open_tensors(index.parent / shard).arrays for shard in shards}
    arrays: dict[str, LazyArray] = {}
    for name, shard in shard_of.items():
        if name not in opened[shard]:
            raise CheckpointError(
                f"{index} names {name} in {shard}, which lacks it; download both again"
            )
        arrays[name] = opened[shard][name]
    return LazyTensors(arrays)


def find_weights(folder: pathlib.Path, stems: Sequence[str] = STEMS) -> pathlib.Path:
    """The weights (file or index of shards) of a component as diffusers or transformers saved it.

    Safetensors come before `.bin`, whole files before shards, earlier stems before later ones; a
    variant such as `model.fp16.safetensors` is taken where there is nothing else.

    Raises:
        CheckpointError: there is none.
    """
    for variant in ("", *(f".{name}" for name in VARIANTS)):
        for suffix in (".safetensors", ".bin"):
            for stem in stems:
                for name in (f"{stem}{variant}{suffix}", f"{stem}{suffix}.index{variant}.json"):
                    if (folder / name).is_file():
                        return folder / name
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder; a checkpoint should have weights there")
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise CheckpointError(
        f"{folder} holds no weights ({' or '.join(stems)}, .safetensors or .bin) but {there};"
        " download the rest"
    )


def save_tensors(
    path: pathlib.Path,
    tensors: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
    *,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes NumPy or JAX arrays as safetensors, whole or not at all, one in memory at a time.

    Above `shard_bytes` the set is cut into `NAME-00001-of-0000N.safetensors` with
    `NAME.safetensors.index.json`, as transformers and diffusers do; `open_tensors(path)` reads
    either. An earlier file of the other kind goes.

    Args:
        path: ends in `.safetensors`; folders above it are made.
        tensors: by name.
        metadata: strings for the header, beside `format: pt`, without which transformers refuses
            the file.
        shard_bytes: largest size of a file; a single array may be larger.

    Raises:
        ValueError: an array or metadata that the format cannot hold; nothing is written.
        OSError: the disk is full, or the place cannot be written.
    """
    metadata = {"format": "pt", **(metadata or {})}
    check_storable(tensors, metadata)
    shards = _shards(tensors, shard_bytes)
    index = path.with_name(f"{path.name}.index.json")
    if len(shards) == 1:
        with whole_file(path) as temporary:
            write_safetensors(temporary, tensors, metadata)
        index.unlink(missing_ok=True)
        _remove_earlier(path, keep=[])
        return
    shard_of: dict[str, str] = {}
    with contextlib.ExitStack() as stack:  # no shard takes its name before all are written
        for number, names in enumerate(shards, 1):
            shard = path.with_name(f"{path.stem}-{number:05}-of-{len(shards):05}{path.suffix}")
            temporary = stack.enter_context(whole_file(shard))
            write_safetensors(temporary, {name: tensors[name] for name in names}, metadata)
            shard_of.update(dict.fromkeys(names, shard.name))
    total = sum(int(value.nbytes) for value in tensors.values())
    write_json(
        index, {"metadata": {"total_size": total}, "weight_map": dict(sorted(shard_of.items()))}
    )
    path.unlink(missing_ok=True)
    _remove_earlier(path, keep=list(shard_of.values()))


def _remove_earlier(path: pathlib.Path, *, keep: Sequence[str]) -> None:
    """Removes the shards of an earlier set that no index names any more."""
    digits = "[0-9]" * 5
    for shard in path.parent.glob(f"{glob.escape(path.stem)}-{digits}-of-{digits}{path.suffix}"):
        if shard.name not in keep:
            shard.unlink(missing_ok=True)


def _shards(tensors: Mapping[str, Any], limit: int) -> list[list[str]]:
    """Names in their order, cut where the next array would exceed `limit`."""
    shards: list[list[str]] = [[]]
    size = 0
    for name, value in tensors.items():
        size += int(value.nbytes)
        if size > limit and shards[-1]:
            shards.append([])
            size = int(value.nbytes)
        shards[-1].append(name)
    return shards


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes `content` as indented JSON, whole or not at all.

    Raises:
        TypeError, ValueError: JSON cannot say it (NaN and infinity included); nothing is written.
        OSError: the place cannot be written.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def staged(folder: pathlib.Path, *, overwrite: bool = False) -> Iterator[pathlib.Path]:
    """A new folder to build `folder` in; it takes that name when the block ends well, else it goes.

    With `overwrite` a folder that is there already is replaced with everything in it, and stays if
    the block fails.

    Raises:
        CheckpointError: `folder` is a file, not empty (without `overwrite`), or holds the working
            directory.
        OSError: the place cannot be written.
    """
    folder = pathlib.Path(folder).resolve()
    _check_free(folder, overwrite=overwrite)
    token = secrets.token_hex(4)
    building = folder.with_name(f"{folder.name}.tmp-{token}")
    building.mkdir(parents=True)
    try:
        yield building
        _check_free(folder, overwrite=overwrite)  # another process may have been quicker
        earlier = folder.with_name(f"{folder.name}.old-{token}")
        if replaced := folder.exists():
            folder.rename(earlier)
        try:
            building.rename(folder)
        except BaseException:
            if replaced:
                earlier.rename(folder)
            raise
        shutil.rmtree(earlier, ignore_errors=True)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _check_free(folder: pathlib.Path, *, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder} is a file; give the name of a folder")
    if pathlib.Path.cwd().is_relative_to(folder):
        raise CheckpointError(
            f"{folder} holds the working directory; give the name of a new folder"
        )
    if folder.is_dir() and not overwrite and any(folder.iterdir()):
        raise CheckpointError(
            f"{folder} is there already and not empty; remove it or ask to overwrite it"
        )


def content_hash(path: str | pathlib.Path) -> str:
    """SHA-256, in hexadecimal, that tells which weights these are wherever they lie.

    Of a file it is what `sha256sum FILE` prints; of a folder, the hash of what sha256sum prints for
    the files in it, sorted by relative path, without hidden ones.

    Raises:
        CheckpointError: nothing is there.
    """
    path = pathlib.Path(path)
    if path.is_file():
        return _file_hash(path)
    found = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    names = sorted(name for name in found if not any(part[0] == "." for part in name.split("/")))
    if not names:
        raise CheckpointError(f"{path} does not exist or has no files in it")
    lines = [f"{_file_hash(found[name])}  {name}\n" for name in names]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _file_hash(path: pathlib.Path) -> str:
    stat = path.stat()
    return _hash_once(path.resolve(), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _hash_once(path: pathlib.Path, size: int, modified: int) -> str:
    """The hash of a file, computed again only when its size or time has changed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
