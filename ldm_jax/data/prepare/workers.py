"""Work in several processes that may die of it.

A decoder that crashes, or a file that takes all the memory, ends its process and nothing else: the job begins anew in
a fresh process, and an item of which two have died is passed over.
"""

import collections
import contextlib
import dataclasses
import multiprocessing
import signal
import traceback
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

STRIKES = 2  # one death may have been another's fault, as when memory runs out
STILLBORN = 3  # processes that die in a row before they begin any item

Work = Callable[[Any, frozenset[int], Callable[[int], None]], Any]


@dataclasses.dataclass(frozen=True)
class Begun:
    """A process begins item `item` of job `job`."""

    job: int
    item: int


@dataclasses.dataclass(frozen=True)
class Done:
    """Job `job` is done."""

    job: int
    result: Any


@dataclasses.dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    job: int | None = None
    item: int | None = None


def outcomes(
    work: Work, jobs: Sequence[Any], *, processes: int
) -> Generator[Begun | Done, None, None]:
    """Runs `work(job, avoid, begin)` for every job in up to `processes` processes, and tells what happens as it does.

    Jobs begin in order and end in any. `work` is importable, and may be run again for a job that it did not finish.
    It calls `begin(item)` before each item of its job and passes over the items in `avoid`, of which processes died.

    Raises:
        OSError: `work` raised one.
        RuntimeError: `work` raised anything else, or processes die before they begin anything.
    """
    waiting = collections.deque(range(len(jobs)))
    strikes: collections.Counter[tuple[int, int]] = collections.Counter()
    team: list[_Worker] = []
    stillborn = 0
    try:
        while waiting or any(worker.job is not None for worker in team):
            while waiting and len(team) < processes:
                team.append(_start(work))
            for worker in team:
                if worker.job is None and waiting:
                    _give(worker, waiting.popleft(), jobs, strikes)
            ready = wait([worker.pipe for worker in team])
            for worker in [worker for worker in team if worker.pipe in ready]:
                kind, value = _receive(worker)
                if kind == "died":
                    team.remove(worker)
                    stillborn = 0 if worker.item is not None else stillborn + 1
                    if stillborn == STILLBORN:
                        raise RuntimeError(f"worker processes die as they start ({value})")
                    if worker.job is not None:
                        waiting.appendleft(worker.job)
                        strikes.update(
                            [(worker.job, worker.item)] if worker.item is not None else []
                        )
                elif kind == "begun" and worker.job is not None:
                    worker.item = value
                    yield Begun(worker.job, value)
                elif kind == "done" and worker.job is not None:
                    job, worker.job, worker.item = worker.job, None, None
                    yield Done(job, value)
                else:
                    raise OSError(value) if kind == "cannot" else RuntimeError(value)
    finally:
        for worker in team:
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()


def _start(work: Work) -> _Worker:
    context = multiprocessing.get_context("spawn")  # a fork would inherit locks of JAX's threads
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(work, theirs), daemon=True)
    process.start()
    theirs.close()  # so that the pipe ends when the process does
    return _Worker(process, ours)


def _give(
    worker: _Worker,
    job: int,
    jobs: Sequence[Any],
    strikes: collections.Counter[tuple[int, int]],
) -> None:
    avoid = frozenset(
        item for (of, item), count in strikes.items() if of == job and count >= STRIKES
    )
    worker.job, worker.item = job, None
    with contextlib.suppress(OSError):  # if it died idle, that is met with next
        worker.pipe.send((jobs[job], avoid))


def _receive(worker: _Worker) -> tuple[str, Any]:
    try:
        return worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        worker.pipe.close()
        return "died", f"exit code {worker.process.exitcode}"


def _serve(work: Work, pipe: Connection) -> None:
    """A worker's life; it ends when the parent's does, at the next item."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent sees to it
    try:
        while True:
            job, avoid = pipe.recv()
            try:
                answer = "done", work(job, avoid, lambda item: pipe.send(("begun", item)))
            except BrokenPipeError:
                return
            except OSError as error:
                answer = "cannot", str(error)
            except Exception:
                answer = "failed", traceback.format_exc()
            pipe.send(answer)
    except (EOFError, BrokenPipeError):
        return
