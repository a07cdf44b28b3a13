"""Encoding a prepared dataset on all devices, shard by shard; what is there already is not done again."""

import dataclasses
import os
import pathlib
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any

import jax
from jax.sharding import Mesh

from ldm_jax.convert.checkpoint import Checkpoint
from ldm_jax.convert.files import write_json
from ldm_jax.data import progress
from ldm_jax.data.encoding import parts as networks
from ldm_jax.data.encoding.captions import encode_captions
from ldm_jax.data.encoding.index import Index, build_index, load_index, save_index
from ldm_jax.data.encoding.parts import Part
from ldm_jax.data.encoding.programs import Programs, compiled
from ldm_jax.data.encoding.reuse import take_over
from ldm_jax.data.encoding.settings import FORMAT, Settings, key
from ldm_jax.data.encoding.windows import encode_windows
from ldm_jax.data.prepared import Prepared
from ldm_jax.parallel.mesh import data_mesh

TEXTS = 4  # a batch holds this many times as many captions as windows


def hashes(
    checkpoint: Checkpoint,
    *,
    audiomae: Checkpoint | None = None,
    what: Sequence[str] | None = None,
) -> dict[str, str]:
    """SHA-256 by encoding of the weights it would be made with; `open_encoding` compares them.

    Args:
        checkpoint: a whole system.
        audiomae: where AudioMAE is taken from if not from there.
        what: encodings; None is all that the checkpoint can make.
    """
    what = networks.available(checkpoint, audiomae) if what is None else what
    return networks.part_hashes({name: networks.part(name, checkpoint, audiomae) for name in what})


def encode(
    prepared: Prepared,
    checkpoint: Checkpoint,
    *,
    settings: Settings | None = None,
    audiomae: Checkpoint | None = None,
    mesh: Mesh | None = None,
    batch: int = 8,
    threads: int | None = None,
) -> pathlib.Path:
    """Encodes every window and every caption of a dataset, or what is still missing of them.

    The result does not depend on how many devices there are, nor on how often the work was interrupted. Where
    `jax.distributed` runs, each process does its share of the files on its own devices, in one folder that all see.

    Args:
        prepared: the dataset.
        checkpoint: a whole system, as `convert.load` reads it.
        settings: what and how; None is all that the checkpoint can make.
        audiomae: where AudioMAE is taken from if not from the checkpoint.
        mesh: with the axis `data`, over which windows are divided; None is all of this process's devices.
        batch: windows at a time on each device. Another number may change the last bits.
        threads: that decode; None is one a core.

    Returns:
        The encoding's folder; see `open_encoding`.

    Raises:
        ValueError: the checkpoint lacks a network, or does not fit the dataset or the settings.
        EncodingError: a clip or a result that cannot be used.
        OSError: the place cannot be written.
    """
    settings = settings or Settings(what=networks.available(checkpoint, audiomae))
    parts = {name: networks.part(name, checkpoint, audiomae) for name in settings.what}
    identity = networks.part_hashes(parts)
    folder = prepared.folder / "encodings" / key(prepared.fingerprint, settings, identity)
    if (folder / "encoding.json").exists():
        return folder
    _check_rate(prepared, checkpoint, settings)
    mesh = data_mesh(jax.local_devices()) if mesh is None else mesh
    for name, part in parts.items():  # before any work, whether the networks can take the windows
        compiled(name, part.module, settings, prepared.sample_rate, mesh)
    index = _index(prepared, settings, folder)
    if jax.process_index() == 0 and (
        known := take_over(
            folder, fingerprint=prepared.fingerprint, settings=settings, networks=identity
        )
    ):
        print(f"{', '.join(known)}: as in an earlier encoding")
    _meet("taken over")
    place = _Place(prepared=prepared, index=index, settings=settings, folder=folder, mesh=mesh)
    _encode_texts(place, _some(parts, settings.textual), batch)
    _encode_sounds(place, _some(parts, settings.windowed), batch, threads or os.cpu_count() or 1)
    _meet("encoded")
    if jax.process_index() == 0:
        _finish(place, checkpoint, identity)
    _meet("finished")
    return folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Place:
    """What is encoded, where to, and on what."""

    prepared: Prepared
    index: Index
    settings: Settings
    folder: pathlib.Path
    mesh: Mesh

    def programs(self, parts: Mapping[str, Part]) -> Programs:
        """Those of `parts`, with their parameters on the devices."""
        return Programs(parts, self.settings, sample_rate=self.prepared.sample_rate, mesh=self.mesh)


def _encode_texts(place: _Place, parts: Mapping[str, Part], batch: int) -> None:
    if parts:
        encode_captions(
            place.index.captions,
            parts,
            place.programs(parts),
            folder=place.folder,
            shard=place.settings.shard,
            size=TEXTS * batch * place.mesh.size,
        )


def _encode_sounds(place: _Place, parts: Mapping[str, Part], batch: int, threads: int) -> None:
    if not parts:
        return
    programs = place.programs(parts)
    total = sum(len(windows.row) for windows in place.index.windows.values())
    with progress.bar("windows", total=total, unit="windows") as bar:
        for split, windows in place.index.windows.items():
            encode_windows(
                place.prepared.rows(split),
                windows,
                programs,
                settings=place.settings,
                fusion="clap_audio" in parts and parts["clap_audio"].module.audio.fusion,
                folder=place.folder / split,
                size=batch * place.mesh.size,
                threads=threads,
                bar=bar,
            )


def _meet(where: str) -> None:
    """Waits for all processes."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(f"ldm_jax.data.encoding: {where}")


def _some(parts: Mapping[str, Part], names: Iterable[str]) -> dict[str, Part]:
    return {name: parts[name] for name in names}


def _check_rate(prepared: Prepared, checkpoint: Checkpoint, settings: Settings) -> None:
    """Raises ValueError unless the dataset has the VAE's sample rate."""
    rate = prepared.sample_rate
    if "latents" in settings.what and rate != checkpoint.sample_rate:
        raise ValueError(
            f"{prepared.folder} was prepared at {rate} Hz and {checkpoint.source} takes {checkpoint.sample_rate} Hz; "
            "prepare it at that rate"
        )


def _index(prepared: Prepared, settings: Settings, folder: pathlib.Path) -> Index:
    """The index that is there, or a new one, which the first process makes."""
    splits = sorted(prepared.splits)
    if jax.process_index() == 0 and load_index(folder, splits) is None:
        rows = {
            split: progress.counted(f"reading {split}", prepared.rows(split)) for split in splits
        }
        rate = prepared.sample_rate
        index = build_index(
            rows, length=round(settings.seconds * rate), shortest=round(settings.shortest * rate)
        )
        save_index(index, folder)
    _meet("index")
    index = load_index(folder, splits)
    assert index is not None
    return index


def _finish(place: _Place, checkpoint: Checkpoint, identity: Mapping[str, str]) -> None:
    """Writes `encoding.json` and removes what interrupted runs left behind."""
    for leftover in place.folder.rglob(".*.npy"):
        leftover.unlink(missing_ok=True)
    packages = ("ldm_jax", "jax", "flax", "numpy", "soxr", "soundfile")
    description: dict[str, Any] = {
        "format": FORMAT,
        "fingerprint": place.prepared.fingerprint,
        "settings": place.settings.to_json(),
        "networks": dict(identity),
        "checkpoint": checkpoint.source,
        "windows": {split: len(windows.row) for split, windows in place.index.windows.items()},
        "captions": len(place.index.captions),
        "versions": {name: metadata.version(name) for name in packages}
        | {"python": platform.python_version(), "backend": jax.default_backend()},
    }
    write_json(place.folder / "encoding.json", description)
