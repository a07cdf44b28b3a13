import pytest

from ldm_jax.parallel import distributed
from ldm_jax.parallel.distributed import Place, found, start

SLURM = {
    "SLURM_JOB_ID": "70001",
    "SLURM_STEP_NODELIST": "gpu[017-018,020]",
    "SLURM_NTASKS": "3",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NUM_NODES": "3",
}
PORT = 65536 - 4096 + 70001 % 4096


def test_slurm_with_a_task_a_node_takes_all_of_its_gpus():
    assert found(SLURM) == Place(coordinator=f"gpu017:{PORT}", processes=3, process=2)


@pytest.mark.parametrize(
    ("hosts", "first"),
    [("a", "a"), ("a1,b2", "a1"), ("n[3]", "n3"), ("n[05,07-09],m1", "n05"), ("n-1[2-3]", "n-12")],
)
def test_the_first_host_of_slurm(hosts, first):
    place = found({**SLURM, "SLURM_STEP_NODELIST": hosts})
    assert place.coordinator == f"{first}:{PORT}"


def test_slurm_with_a_task_a_gpu_takes_its_own():
    shared = {**SLURM, "SLURM_NTASKS": "12", "SLURM_PROCID": "7", "SLURM_LOCALID": "3"}
    assert found(shared).local_devices == (3,)
    assert found({**shared, "CUDA_VISIBLE_DEVICES": "0,1,2,3"}).local_devices == (3,)
    assert found({**shared, "CUDA_VISIBLE_DEVICES": "3"}).local_devices is None  # bound by Slurm
    assert found({**shared, "JAX_LOCAL_DEVICE_IDS": "4,5"}).local_devices == (4, 5)


def test_open_mpi():
    tasks = {
        "OMPI_COMM_WORLD_SIZE": "4",
        "OMPI_COMM_WORLD_RANK": "1",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    }
    tasks["OMPI_COMM_WORLD_LOCAL_RANK"] = "1"
    uri = {"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911"}
    port = 65536 - 4096 + 1531576320 // 4096 % 4096
    expected = Place(coordinator=f"10.96.0.1:{port}", processes=4, process=1, local_devices=(1,))
    assert found(tasks | uri) == expected
    assert found(tasks | {"JAX_COORDINATOR_ADDRESS": "h:1"}).coordinator == "h:1"
    with pytest.raises(ValueError, match="4 processes without naming the first one's host"):
        found(tasks)


def test_nothing_is_found_where_nothing_is():
    assert found({"PATH": "/bin"}) is None


def test_one_process_joins_nobody(monkeypatch):
    monkeypatch.setattr(distributed.jax.distributed, "initialize", pytest.fail)
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    start()
    start(None, 1, 0)
    for name, value in (SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}).items():
        monkeypatch.setenv(name, value)
    start()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("h:1", 2, None), "process missing"),
        ((None, 2, 1), "coordinator missing"),
        (("h:1", 2, 2), "process must be from 0 to 1, one number each, not 2"),
        (("h", 2, 1), "coordinator must be host:port, as in .*, not 'h'"),
    ],
)
def test_arguments_that_do_not_go_together(given, message):
    with pytest.raises(ValueError, match=message):
        start(*given)


def test_the_environment_is_checked_too(monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    with pytest.raises(ValueError, match="JAX_NUM_PROCESSES must be a whole number, not 'two'"):
        start()


def test_too_late_is_one_sentence(monkeypatch):
    monkeypatch.setattr(distributed.jax.distributed, "is_initialized", lambda: False)
    distributed.jax.devices()
    with pytest.raises(
        RuntimeError, match="before anything asks JAX for its devices: call start first"
    ):
        start("127.0.0.1:1", 2, 0, timeout=1)
