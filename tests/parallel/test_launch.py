import os
import signal
import subprocess
import sys
import time

import pytest

JOINED = """
import sys
from ldm_jax.parallel.distributed import start
start()
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from ldm_jax.parallel.mesh import rows, training_mesh
from ldm_jax.parallel.sharding import local_rows
mesh = training_mesh(fsdp=2)
mine = local_rows(8, mesh)
x = jax.make_array_from_process_local_data(rows(mesh), np.asarray(mine, np.float32))
total = jax.jit(lambda x: (x * x).sum(), out_shardings=NamedSharding(mesh, PartitionSpec()))(x)
print("rows", mine.tolist(), "of", jax.process_count(), "processes,", jax.device_count(), "devices:", float(total))
"""
WAITING = """
import pathlib, signal, sys, time
folder, rank = pathlib.Path(sys.argv[1]), __import__("os").environ["JAX_PROCESS_ID"]
def end(*_):
    (folder / f"told{rank}").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
(folder / f"ready{rank}").touch()
if rank == "1" and len(sys.argv) > 2:
    while not (folder / "ready0").exists():
        time.sleep(0.01)
    print("no such thing\\rnor this")
    sys.exit(3)
time.sleep(60)
"""


def launched(tmp_path, script, *arguments, processes=2, devices=1):
    path = tmp_path / "script.py"
    path.write_text(script)
    command = [sys.executable, "-m", "ldm_jax.parallel.launch", "--processes", str(processes)]
    command += ["--devices", str(devices), "--", str(path), *map(str, arguments)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "OMPI_"))}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_two_processes_are_one_computation(tmp_path):
    child = launched(tmp_path, JOINED, processes=2, devices=2)
    output, _ = child.communicate(timeout=120)
    assert child.returncode == 0, output
    total = float(sum(i * i for i in range(8)))
    said = sorted(line for line in output.splitlines() if "rows" in line)
    assert said == [
        f"[0] rows [0, 1, 2, 3] of 2 processes, 4 devices: {total}",
        f"[1] rows [4, 5, 6, 7] of 2 processes, 4 devices: {total}",
    ]


def test_one_that_fails_ends_the_others(tmp_path):
    child = launched(tmp_path, WAITING, tmp_path, "fails")
    output, _ = child.communicate(timeout=30)
    assert child.returncode == 3
    assert output.splitlines() == ["[1] no such thing", "[1] nor this"]
    assert (tmp_path / "told0").exists()


def test_a_signal_reaches_all(tmp_path):
    child = launched(tmp_path, WAITING, tmp_path, processes=3)
    limit = time.monotonic() + 30
    while len(list(tmp_path.glob("ready*"))) < 3 and time.monotonic() < limit:
        time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=30)
    assert child.returncode == 143
    assert len(list(tmp_path.glob("told*"))) == 3


@pytest.mark.parametrize("flag", ["--processes", "--devices"])
def test_none_is_too_few(flag):
    command = [sys.executable, "-m", "ldm_jax.parallel.launch", flag, "0", "--", "x.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"{flag} must be at least 1, not 0" in done.stderr
