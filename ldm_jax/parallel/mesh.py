"""Devices: the mesh that sampling shards clips over, and where compiled programs are kept."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def data_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh with the one axis `data` over `devices`; over all where None."""
    devices = jax.devices() if devices is None else list(devices)
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def rows(mesh: Mesh) -> NamedSharding:
    """The first axis is divided among the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def place(tree: Any, sharding: NamedSharding) -> Any:
    """`tree` as arrays on the mesh."""
    return jax.device_put(tree, sharding)


def enable_compilation_cache() -> None:
    """Keeps compiled programs between runs, in JAX_COMPILATION_CACHE_DIR or the user's cache folder.

    Leaves a cache that is already configured as it is. An entry is executable code: the folder must be the user's own.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    root = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    jax.config.update("jax_compilation_cache_dir", str(root / "ldm_jax" / "xla"))
