"""Several processes as one computation: who is first, how many there are, and which one this is."""

import dataclasses
import os
import re
from collections.abc import Mapping

import jax

# As `launch` sets them and a script of one's own may; JAX itself reads only the first.
COORDINATOR, PROCESSES, PROCESS = (
    "JAX_COORDINATOR_ADDRESS",
    "JAX_NUM_PROCESSES",
    "JAX_PROCESS_ID",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """One process among several.

    Attributes:
        coordinator: "host:port" at which the first one waits for the others.
        processes: how many there are.
        process: this one's number, from 0.
        local_devices: those of the host's GPUs that are this process's; None is all that it sees.
    """

    coordinator: str
    processes: int
    process: int
    local_devices: tuple[int, ...] | None = None


def start(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    *,
    timeout: int = 300,
) -> None:
    """Joins the other processes, where there are any. To be called before anything asks JAX for devices.

    Without arguments the three come from JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, else from
    Slurm or Open MPI, else from what JAX itself finds on Cloud TPU and Kubernetes; else there is one process.

    Args:
        coordinator: "host:port" of the first process, the same for all.
        processes: how many there are.
        process: this one's number, from 0.
        timeout: seconds to wait for the others.

    Raises:
        ValueError: some of the three without the others, or out of range.
        RuntimeError: the devices were asked for before, or not all processes came.
    """
    place = _given(coordinator, processes, process, os.environ) or found(os.environ)
    if place is None and not _jax_knows(os.environ):
        return
    if place is not None and place.processes == 1:
        return
    if jax.distributed.is_initialized():
        raise RuntimeError("this process has already joined the others; start is to be called once")
    try:
        if place is None:
            jax.distributed.initialize(initialization_timeout=timeout)
        else:
            jax.distributed.initialize(
                place.coordinator,
                place.processes,
                place.process,
                local_device_ids=place.local_devices,
                # Else JAX would look for a cluster again, and on Slurm take one GPU where all are meant.
                cluster_detection_method="deactivate",
                initialization_timeout=timeout,
            )
    except (RuntimeError, ValueError) as error:
        raise RuntimeError(_sentence(str(error), place)) from error


def found(environment: Mapping[str, str]) -> Place | None:
    """The place that Slurm or Open MPI tells by environment variables; None where neither does.

    Several tasks on a host take a GPU each, unless they see a single one already; a task alone on its host takes all.

    Raises:
        ValueError: Open MPI does not say where the first process is.
    """
    if _has(environment, "SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID"):
        return _slurm(environment)
    if _has(environment, "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"):
        return _open_mpi(environment)
    return None


def _given(
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    environment: Mapping[str, str],
) -> Place | None:
    coordinator = coordinator or environment.get(COORDINATOR)
    if processes is None and PROCESSES in environment:
        processes = _number(environment, PROCESSES)
    if process is None and PROCESS in environment:
        process = _number(environment, PROCESS)
    values = {"coordinator": coordinator, "processes": processes, "process": process}
    missing = [name for name, value in values.items() if value is None]
    if processes == 1 and not process:
        return Place(coordinator=coordinator or "", processes=1, process=0)
    if missing == ["processes", "process"]:
        return None  # an address alone: a cluster knows the rest
    if len(missing) == 3:
        return None
    if coordinator is None or processes is None or process is None:
        raise ValueError(
            f"coordinator, processes and process are to be given together; {' and '.join(missing)} missing"
        )
    if not re.fullmatch(r".+:\d+", coordinator):
        raise ValueError(f"coordinator must be host:port, as in 10.0.0.1:8476, not {coordinator!r}")
    if not 0 <= process < processes:
        raise ValueError(
            f"process must be from 0 to {processes - 1}, one number each, not {process}"
        )
    return Place(
        coordinator=coordinator,
        processes=processes,
        process=process,
        local_devices=_listed(environment),
    )


def _slurm(environment: Mapping[str, str]) -> Place:
    hosts = environment["SLURM_STEP_NODELIST"]
    # "node001,other", "node[001-015],other" and "node[001,007]": the first host's name.
    host = re.match(r"([^,\[]*)(?:\[([^,\-\]]*))?", hosts)
    assert host is not None
    tasks = _number(environment, "SLURM_NTASKS")
    nodes = int(environment.get("SLURM_STEP_NUM_NODES", environment.get("SLURM_NNODES", "1")))
    first = host.group(1) + (host.group(2) or "")
    return Place(
        coordinator=environment.get(COORDINATOR)
        or f"{first}:{_port(_number(environment, 'SLURM_JOB_ID'))}",
        processes=tasks,
        process=_number(environment, "SLURM_PROCID"),
        local_devices=_own_device(environment, "SLURM_LOCALID", alone=tasks <= nodes),
    )


def _open_mpi(environment: Mapping[str, str]) -> Place:
    tasks = _number(environment, "OMPI_COMM_WORLD_SIZE")
    address = environment.get(COORDINATOR)
    if address is None and tasks > 1:
        uri = environment.get("OMPI_MCA_orte_hnp_uri", "")
        host = re.search(r"tcp://([^,:]+)", uri)
        if host is None:
            raise ValueError(
                f"Open MPI started {tasks} processes without naming the first one's host;"
                f" set {COORDINATOR} to its host:port (mpirun -x {COORDINATOR}=host:port)"
            )
        address = f"{host.group(1)}:{_port(int(uri.split('.', 1)[0]) // 2**12)}"
    local = int(environment.get("OMPI_COMM_WORLD_LOCAL_SIZE", "1"))
    return Place(
        coordinator=address or "",
        processes=tasks,
        process=_number(environment, "OMPI_COMM_WORLD_RANK"),
        local_devices=_own_device(environment, "OMPI_COMM_WORLD_LOCAL_RANK", alone=local == 1),
    )


def _own_device(
    environment: Mapping[str, str], rank: str, *, alone: bool
) -> tuple[int, ...] | None:
    """The GPU of a process that shares its host."""
    listed = _listed(environment)
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is not None or alone or (visible is not None and "," not in visible):
        return listed
    return (_number(environment, rank),)


def _listed(environment: Mapping[str, str]) -> tuple[int, ...] | None:
    devices = environment.get("JAX_LOCAL_DEVICE_IDS")
    return tuple(int(device) for device in devices.split(",")) if devices else None


def _jax_knows(environment: Mapping[str, str]) -> bool:
    """Whether this is one of several TPU hosts, or a pod of an indexed Kubernetes job."""
    hosts = environment.get("TPU_WORKER_HOSTNAMES", "")
    several = "," in hosts or int(environment.get("MEGASCALE_NUM_SLICES", "1")) > 1
    indexed = _has(environment, "KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX")
    # JAX sets this one when it is imported where there is no TPU; where there is one, it asks Cloud's metadata server.
    tpu = "TPU_SKIP_MDS_QUERY" not in environment
    return several or indexed or (tpu and "tpu" in environment.get("JAX_PLATFORMS", "tpu"))


def _port(job: int) -> int:
    """One that other jobs on the host hardly use: the last 4096, by the job's number."""
    return 65536 - 4096 + job % 4096


def _has(environment: Mapping[str, str], *names: str) -> bool:
    return all(name in environment for name in names)


def _number(environment: Mapping[str, str], name: str) -> int:
    try:
        return int(environment[name])
    except ValueError:
        raise ValueError(f"{name} must be a whole number, not {environment[name]!r}") from None


def _sentence(error: str, place: Place | None) -> str:
    if "before" in error and "initialize" in error:
        return "the processes have to be joined before anything asks JAX for its devices: call start first"
    if place is None:
        return f"the other processes could not be joined: {error}"
    return (
        f"process {place.process} of {place.processes} could not join the others at {place.coordinator}"
        f" ({error.splitlines()[0]}); check that all were started and that the first one's port can be reached"
    )
