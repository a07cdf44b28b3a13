"""Devices: the meshes that sampling and training run on, and where compiled programs are kept."""

import collections
import itertools
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "fsdp", "tensor")  # of a training mesh, from the slowest network to the fastest
ROWS = ("data", "fsdp")  # those over which a batch's rows are divided


def data_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh with the one axis `data` over `devices`; over all where None."""
    devices = jax.devices() if devices is None else list(devices)
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def training_mesh(
    *,
    data: int = -1,
    fsdp: int = 1,
    tensor: int = 1,
    slices: int = 1,
    devices: Sequence[Any] | None = None,
) -> Mesh:
    """A mesh (data, fsdp, tensor), neighbours on the network side by side along the later axes.

    Args:
        data: copies of the parameters; -1 takes all the devices that the other axes leave.
        fsdp: devices that divide one copy's parameters, and its rows of the batch, among them.
        tensor: devices that divide the products of one row among them.
        slices: of TPU pods, or other groups of devices, that a slower network connects; only `data` crosses it.
        devices: to lay out; all where None.

    Raises:
        ValueError: the axes do not fit the devices, or the slices; one sentence.
    """
    devices = list(jax.devices() if devices is None else devices)
    shape = _sizes(len(devices), data, fsdp, tensor, slices)
    if slices == 1:
        grid = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    else:
        inner = (shape[0] // slices, *shape[1:])
        grid = np.concatenate(
            [
                mesh_utils.create_device_mesh(inner, part, allow_split_physical_axes=True)
                for part in _slices(devices, slices)
            ]
        )
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def rows(mesh: Mesh) -> NamedSharding:
    """The first axis is divided among the devices; of a training mesh, over `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(tuple(a for a in ROWS if a in mesh.axis_names)))


def place(tree: Any, sharding: NamedSharding) -> Any:
    """`tree` as arrays on the mesh."""
    return jax.device_put(tree, sharding)


def on_host(tree: Any) -> Any:
    """`tree` as NumPy arrays, whole, on every process; every process has to call it."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def enable_compilation_cache() -> None:
    """Keeps compiled programs between runs, in JAX_COMPILATION_CACHE_DIR or the user's cache folder.

    Leaves a cache that is already configured as it is. An entry is executable code: the folder must be the user's own.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    root = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    jax.config.update("jax_compilation_cache_dir", str(root / "ldm_jax" / "xla"))


def _sizes(count: int, data: int, fsdp: int, tensor: int, slices: int) -> tuple[int, int, int]:
    """The mesh's shape, checked against `count` devices."""
    sizes = {"fsdp": fsdp, "tensor": tensor, "slices": slices} | (
        {"data": data} if data != -1 else {}
    )
    for name, size in sizes.items():
        if size < 1:
            least = "1 or more, or -1 for all that is left" if name == "data" else "1 or more"
            raise ValueError(f"a mesh's {name} must be {least}, not {size}")
    if data == -1 and count % (fsdp * tensor):
        raise ValueError(
            f"fsdp={fsdp} times tensor={tensor} does not divide the {count} devices;"
            f" choose axes whose product does"
        )
    data = count // (fsdp * tensor) if data == -1 else data
    if data * fsdp * tensor != count:
        raise ValueError(
            f"a mesh of data={data}, fsdp={fsdp} and tensor={tensor} has {data * fsdp * tensor} devices,"
            f" but there are {count}; data=-1 takes all that the others leave"
        )
    if data % slices:
        raise ValueError(
            f"data={data} cannot be divided among {slices} slices, and no other axis may cross them;"
            f" choose a smaller fsdp or tensor"
        )
    return data, fsdp, tensor


def _slices(devices: list[Any], slices: int) -> list[list[Any]]:
    """Devices by slice; where the hardware names none, by process; within one process, in order."""
    for attribute in ("slice_index", "process_index"):
        groups = collections.defaultdict(list)
        for device in devices:
            groups[getattr(device, attribute, 0) or 0].append(device)
        if len(groups) > 1 and len(groups) % slices == 0:
            ordered = [groups[key] for key in sorted(groups)]
            step = len(groups) // slices
            parts = [ordered[i : i + step] for i in range(0, len(groups), step)]
            return [list(itertools.chain.from_iterable(part)) for part in parts]
        if len(groups) > 1 and attribute == "slice_index":
            raise ValueError(f"slices={slices} was asked for, but the devices lie in {len(groups)}")
    size = math.ceil(len(devices) / slices)
    return [devices[i : i + size] for i in range(0, len(devices), size)]
