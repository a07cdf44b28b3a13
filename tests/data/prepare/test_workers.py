"""The work is given as text of numbers: what each item does to the process that meets it."""

import os
import pathlib
import signal

import pytest

from ldm_jax.data.prepare.workers import Begun, Done, outcomes


def work(job, avoid, begin):
    folder, items = job
    did = []
    for place, item in enumerate(items):
        if place in avoid:
            did.append(f"{item} avoided")
            continue
        begin(place)
        if item == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if item == "once":
            marker = pathlib.Path(folder) / "once"
            if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if item == "full":
            raise OSError("no space left")
        if item == "bug":
            raise KeyError("oops")
        did.append(item)
    return did


def run(jobs, folder, processes):
    events = list(outcomes(work, [(str(folder), job) for job in jobs], processes=processes))
    assert {(e.job, e.item) for e in events if isinstance(e, Begun)} == {
        (job, item) for job, items in enumerate(jobs) for item in range(len(items))
    }
    return {event.job: event.result for event in events if isinstance(event, Done)}


@pytest.mark.parametrize("processes", [1, 3])
def test_every_job_is_done_once(tmp_path, processes):
    jobs = [[str(job), "x"] for job in range(7)]
    assert run(jobs, tmp_path, processes) == dict(enumerate(jobs))


def test_an_item_that_kills_is_avoided_and_nothing_else(tmp_path):
    jobs = [["a", "b"], ["c", "segfault", "d", "segfault"], ["once", "e"], []]
    assert run(jobs, tmp_path, 2) == {
        0: ["a", "b"],
        1: ["c", "segfault avoided", "d", "segfault avoided"],
        2: ["once", "e"],  # one death may be another's fault
        3: [],
    }


def test_a_full_disk_ends_the_work(tmp_path):
    with pytest.raises(OSError, match=r"^no space left$"):
        run([["a", "full"], ["b"]], tmp_path, 1)


def test_a_bug_is_told_with_its_place(tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)in work.*KeyError: 'oops'"):
        run([["bug"]], tmp_path, 1)


def stillborn(job, avoid, begin):
    os._exit(7)


def test_processes_that_cannot_start_do_not_start_for_ever():
    with pytest.raises(RuntimeError, match=r"die as they start \(exit code 7\)"):
        list(outcomes(stillborn, [None], processes=1))


def test_nothing_to_do_starts_nothing():
    assert list(outcomes(work, [], processes=2)) == []
