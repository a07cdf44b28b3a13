"""Encoding as a command does it: files in, messages out."""

import dataclasses
import pathlib
import time
from collections.abc import Sequence
from typing import Any

from ldm_jax.convert import single
from ldm_jax.convert.checkpoint import Checkpoint
from ldm_jax.convert.load import load
from ldm_jax.data.encoding.parts import available
from ldm_jax.data.encoding.settings import WHAT, Settings
from ldm_jax.data.encoding.writing import encode
from ldm_jax.data.prepared import open_prepared
from ldm_jax.parallel.mesh import enable_compilation_cache


def run(
    prepared: str | pathlib.Path,
    checkpoint: str,
    *,
    audiomae: str | None = None,
    what: Sequence[str] | None = None,
    batch: int = 8,
    **settings: Any,
) -> pathlib.Path:
    """Encodes a prepared dataset with a checkpoint, on all devices, and prints what was done.

    Args:
        prepared: folder or name of the dataset.
        checkpoint: folder, file or Hub id of a whole system.
        audiomae: AudioMAE's weights, where the checkpoint has none: a published file, a folder of ours, one of a
            run that trained it, or a Hub id.
        what: encodings; None is all that the checkpoint can make.
        batch: windows at a time on each device.
        settings: further fields of `Settings`.

    Returns:
        The encoding's folder.

    Raises:
        ValueError, OSError: as `open_prepared`, `load` and `encode`.
    """
    dataset = open_prepared(prepared)
    system = load(checkpoint)
    other = _audiomae(audiomae) if audiomae else None
    possible = available(system, other)
    if what is None and (left := [name for name in WHAT if name not in possible]):
        hint = (
            "; AudioMAE's weights, for loa, can be given with --audiomae" if "loa" in left else ""
        )
        print(f"{system.source} has no network for {', '.join(left)}: left out{hint}")
    chosen = dataclasses.replace(Settings(), what=tuple(what or possible), **settings)
    enable_compilation_cache()
    started = time.perf_counter()
    folder = encode(dataset, system, settings=chosen, audiomae=other, batch=batch)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(
        f"{folder}: {', '.join(chosen.what)}, {size / 1e6:,.1f} MB, {time.perf_counter() - started:.1f} s"
    )
    return folder


def _audiomae(where: str) -> Checkpoint:
    run = pathlib.Path(where) / "export"
    place = run if run.is_dir() else pathlib.Path(where)
    ours = (place / "model.json").exists()
    return load(place) if ours else single.load(where, "audiomae")
