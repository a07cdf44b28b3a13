"""TPU slices that are not there: their chips, as the TPU compiler of libtpu knows them on any machine."""

import contextlib
import importlib.util
import os
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_INSTALL = f"pip install 'jax[tpu]=={jax.__version__}' (libtpu; no TPU is needed)"
# libtpu reads these where it would otherwise ask the machine which TPU it is.
_NOWHERE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # several plans at once: none of them holds a TPU
}
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class TooLargeError(ValueError):
    """The compiler refused a program for want of memory.

    Attributes:
        needed: bytes that it would have taken of a chip.
        given: bytes that there are.
    """

    def __init__(self, needed: int, given: int) -> None:
        """`needed` and `given` in bytes a chip."""
        super().__init__(
            f"the step needs {needed / 2**30:.2f} GiB of a chip's {given / 2**30:.2f} GiB: take a smaller batch, more"
            f" microbatches (accumulation), remat, or a larger fsdp"
        )
        self.needed, self.given = needed, given


def chips(topology: str, *, slices: int = 1) -> list[Any]:
    """Descriptions of the chips of a topology, to compile for; not devices that could run anything.

    Args:
        topology: a TPU generation and the shape of a slice, as in "v5e:4x4", "v4:2x2x4", "v5p:8x8x8", "v6e:16x16"; or
            "cpu:8", the first eight devices of this machine's CPU (see `jax_num_cpu_devices`).
        slices: how many of them.

    Raises:
        ValueError: a shape that there is not, or no libtpu; one sentence.
    """
    if topology.startswith("cpu:"):
        return _virtual(topology)
    for name, value in _NOWHERE.items():
        os.environ.setdefault(name, value)
    several: dict[str, Any] = {"num_slices": slices} if slices > 1 else {}
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=topology, **several)
    except Exception as error:  # whatever libtpu says
        if not _installed():
            raise ValueError(f"{topology} needs the TPU compiler: {_INSTALL}") from None
        raise ValueError(
            f"{topology} is no topology that libtpu knows; v5e:4x4, v5e:16x16, v6e:16x16 and v5p:8x8x8 are"
            f" ({str(error).splitlines()[0]})"
        ) from None
    return list(found.devices)


def memory(chip: Any) -> int | None:
    """Bytes that the TPU compiler lets a program use on a chip; None for a CPU.

    It names them when it refuses a program: here one that sorts 100 GiB on one chip.
    """
    if chip.platform != "tpu":
        return None
    alone = NamedSharding(Mesh(np.array([chip]), ("chip",)), PartitionSpec())
    much = jax.ShapeDtypeStruct((100 * 2**10, 2**18), jnp.float32, sharding=alone)
    try:
        jax.jit(jnp.sort).lower(much).compile()
    except jax.errors.JaxRuntimeError as error:
        refused = refusal(str(error))
        if refused is None:
            raise
        return refused.given
    raise AssertionError(f"the compiler finds 100 GiB of memory on a {chip.device_kind}")


def refusal(message: str) -> TooLargeError | None:
    """What the TPU compiler means where memory does not suffice; None where it says something else."""
    found = re.search(r"Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT]) hbm", message) or re.search(
        r"\(([\d.]+)([KMGT])\) exceeds available HBM \(([\d.]+)([KMGT])\)", message
    )
    if found is None:
        return None
    needed, unit, given, given_unit = found.groups()
    return TooLargeError(
        round(float(needed) * _UNITS[unit]), round(float(given) * _UNITS[given_unit])
    )


def other_refusal(message: str) -> ValueError | None:
    """What it means where another memory of a chip does not suffice, as its semaphores; None for anything else."""
    found = re.search(r"in memory space (\w+)\. Used (\S+) of (\S+) \1", message)
    if found is None or found[1] == "hbm":
        return None
    return ValueError(
        f"the compiler refuses the step: it needs {found[2]} of a chip's {found[3]} of {found[1]}, which is not the"
        " memory that a smaller batch frees: try --noquick, or another mesh"
    )


@contextlib.contextmanager
def traced_for(platform: str) -> Iterator[None]:
    """Programs that are traced within take the kernels of `platform`, "tpu" say, though this machine has none.

    Networks ask `jax.default_backend` which form of a computation is the fastest (`models.attention`,
    `models.convolution`); no argument of `lower` reaches that.
    """
    before = jax.default_backend
    jax.default_backend = lambda: platform  # type: ignore[assignment]
    try:
        yield
    finally:
        jax.default_backend = before


def _virtual(topology: str) -> list[Any]:
    count, devices = int(topology.removeprefix("cpu:")), jax.devices("cpu")
    if not 1 <= count <= len(devices):
        raise ValueError(
            f"{topology} asks for {count} devices, but there are {len(devices)};"
            f" set JAX_NUM_CPU_DEVICES={count}"
        )
    return devices[:count]


def _installed() -> bool:
    return "TPU_LIBRARY_PATH" in os.environ or importlib.util.find_spec("libtpu") is not None
