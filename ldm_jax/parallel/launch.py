"""python -m ldm_jax.parallel.launch --processes N [--devices D] -- COMMAND: N processes on this machine's CPU.

They join each other as the hosts of a pod would, each with D virtual devices, so that what is meant for a pod can be
tried out: python -m ldm_jax.parallel.launch --processes 2 --devices 4 -- train.py --config=... --workdir=...
Every line is printed with the number of the process it came from. SIGTERM and Ctrl-C are passed on. When one process
fails the others are ended. The exit code is the worst of those that ended by themselves.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO

from ldm_jax.parallel.distributed import COORDINATOR, PROCESS, PROCESSES

_PATIENCE = 10.0  # seconds from asking the others to end to ending them
_POLL = 0.05


def launch(command: Sequence[str], *, processes: int, devices: int = 1) -> int:
    """Runs `command`, a Python script and its arguments or `-m MODULE`, in `processes` processes.

    Returns:
        The worst exit code; that of a process which a signal ended is 128 plus the signal's number.
    """
    address = f"127.0.0.1:{_free_port()}"
    started: list[subprocess.Popen[bytes]] = []
    told: list[int] = []

    def pass_on(number: int, _: object) -> None:
        told.append(number)
        _signal(started, number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    printers = []
    try:
        for process in range(processes):
            child = _start(command, _environment(address, processes, process, devices))
            started.append(child)
            printer = threading.Thread(target=_print, args=(child.stdout, process), daemon=True)
            printer.start()
            printers.append(printer)
        code = _wait(started, told)
    finally:
        _end(started)
        for number, handler in before.items():
            signal.signal(number, handler)
    for printer in printers:
        printer.join()
    return code


def _environment(address: str, processes: int, process: int, devices: int) -> dict[str, str]:
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        COORDINATOR: address,
        PROCESSES: str(processes),
        PROCESS: str(process),
        "JAX_CHECK_PROXY_ENVS": "false",  # nothing leaves this machine
        "PYTHONUNBUFFERED": "1",
    }


def _start(command: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C reaches them once, from here
    )


def _wait(started: list[subprocess.Popen[bytes]], told: list[int]) -> int:
    """The worst exit code, once all have ended, or one has failed and the others were ended."""
    while True:
        codes = [child.poll() for child in started]
        ended = [_code(code) for code in codes if code is not None]
        # After a signal each may take its time: they are writing a checkpoint.
        if None not in codes or (any(ended) and not told):
            return max(ended, default=0)
        time.sleep(_POLL)


def _end(started: list[subprocess.Popen[bytes]]) -> None:
    """Asks those that still run to end, and does not ask twice."""
    _signal(started, signal.SIGTERM)
    limit = time.monotonic() + _PATIENCE
    for child in started:
        try:
            child.wait(max(limit - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            _signal([child], signal.SIGKILL)
            child.wait()


def _signal(started: list[subprocess.Popen[bytes]], number: int) -> None:
    for child in started:
        if child.poll() is None:
            child.send_signal(number)


def _print(output: IO[bytes] | None, process: int) -> None:
    """Copies lines to our output; what a progress bar overwrites counts as a line too."""
    assert output is not None
    for line in output:
        text = line.decode(errors="replace").rstrip("\n")
        for part in text.split("\r"):
            if part.strip():
                sys.stdout.write(f"[{process}] {part}\n")
        sys.stdout.flush()


def _code(returned: int) -> int:
    return returned if returned >= 0 else 128 - returned


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """The worst exit code; 2 where the command line is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m ldm_jax.parallel.launch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--devices", type=int, default=1, help="virtual devices of each process")
    parser.add_argument("command", nargs="+", help="a Python script with its arguments, after --")
    given = parser.parse_args(arguments)
    for name in ("processes", "devices"):
        if getattr(given, name) < 1:
            parser.error(f"--{name} must be at least 1, not {getattr(given, name)}")
    return launch(given.command, processes=given.processes, devices=given.devices)


if __name__ == "__main__":
    sys.exit(main())
