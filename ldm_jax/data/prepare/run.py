"""Preparing a source from beginning to end, or from where an earlier run was cut off."""

import contextlib
import dataclasses
import importlib.metadata
import json
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ldm_jax.data.clip import Clip, Omission
from ldm_jax.data.prepare.journal import Journal, LeftOut, Written, write_omissions, write_whole
from ldm_jax.data.prepare.metadata import VERSION, write_metadata
from ldm_jax.data.prepare.place import clear, continued, held
from ldm_jax.data.prepare.plan import Plan, make_plan
from ldm_jax.data.prepare.report import write_report
from ldm_jax.data.prepare.settings import Settings
from ldm_jax.data.prepare.shards import (
    Files,
    Job,
    Seen,
    files_of,
    fingerprint,
    finish,
    finished,
    write_rows,
)
from ldm_jax.data.prepare.statistics import histograms, summarize
from ldm_jax.data.prepare.workers import Begun, outcomes
from ldm_jax.data.prepared import DESCRIPTION
from ldm_jax.data.progress import bar, counted

PACKAGES = ("ldm_jax", "numpy", "soundfile", "soxr", "array_record")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """A prepared dataset.

    Attributes:
        folder: where it lies.
        report: what `report.json` says.
        omissions: everything that was left out.
    """

    folder: pathlib.Path
    report: dict[str, Any]
    omissions: tuple[LeftOut, ...]


def prepare(
    source: Iterable[Clip | Omission],
    out: pathlib.Path,
    *,
    name: str,
    settings: Settings,
    origin: str = "",
    workers: int = 1,
    overwrite: bool = False,
) -> Result:
    """Writes `out/name/1.0.0`: shards of rows, TFDS's metadata, journals and a report.

    The shards are the same bit for bit for any number of workers and after any interruption. A dataset of the same
    clips and settings that lies there is gone on with, wherever its preparation was cut off.

    Args:
        source: gives clips, in the same order every time.
        out: where datasets lie.
        name: of the dataset.
        settings: of the preparation.
        origin: what to write down as the source.
        workers: processes.
        overwrite: begin anew, whatever lies there.

    Raises:
        ValueError: a name that TFDS does not take; a source that gives no clip, or none that can be used; a
            dataset of other clips or settings, or one that is being prepared by another process.
        OSError: the folder cannot be written.
    """
    check_name(name)
    folder = out / name / VERSION
    with held(folder):
        plan = make_plan(counted(f"listing {name}", source), settings)
        if overwrite:
            clear(folder)
        about = continued(folder, plan, settings)
        if about is None:
            about = _about(name, origin, plan, settings)
            write_whole(folder / DESCRIPTION, _json(about))
        journals = _finish_all(plan, folder, name, workers)
        return _conclude(folder, plan, journals, about)


def check_name(name: str) -> None:
    """Raises ValueError unless TFDS takes `name` for a dataset."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(
            f"a dataset's name has small letters, digits and _ and begins with a letter, not {name!r}"
        )


def default_name(source: str) -> str:
    """A name that TFDS takes, after that of the source."""
    name = re.sub(r"[^a-z0-9]+", "_", source.lower()).strip("_")
    return name if name[:1].isalpha() else f"set_{name}".rstrip("_")


def _about(name: str, origin: str, plan: Plan, settings: Settings) -> dict[str, Any]:
    return {
        "name": name,
        "source": origin,
        "key": plan.key,
        "clips": plan.clips,
        "settings": dataclasses.asdict(settings),
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
    }


def _finish_all(plan: Plan, folder: pathlib.Path, name: str, workers: int) -> list[Journal]:
    """The journals of all shards in order, made or found."""
    files = [files_of(shard, folder, name) for shard in plan.shards]
    missing = [
        place for place, shard in enumerate(plan.shards) if not finished(shard, files[place])
    ]
    jobs = [_job(plan, files, place) for place in missing]
    journals: list[Journal] = []
    seen: Seen = {}
    done = plan.clips - sum(len(job.clips) for job in jobs)
    with (
        contextlib.closing(outcomes(write_rows, jobs, processes=workers)) as events,
        bar(f"preparing {name}", total=plan.clips, initial=done) as clips,
    ):
        made = _in_order(events, jobs, clips)
        for place, shard in enumerate(plan.shards):
            entries = next(made) if place in missing else None
            journals.append(finish(shard, files[place], entries, seen))
    return journals


def _job(plan: Plan, files: Sequence[Files], place: int) -> Job:
    shard = plan.shards[place]
    return Job(path=str(files[place].unfinished), clips=shard.clips, settings=shard.settings)


def _in_order(events: Iterator[Any], jobs: Sequence[Job], clips: Any) -> Iterator[list]:
    """What the jobs give, in their order, while the bar `clips` moves on."""
    results: dict[int, list] = {}
    reached = [0] * len(jobs)
    for job in range(len(jobs)):
        while job not in results:
            event = next(events)
            if isinstance(event, Begun):
                position = event.item
            else:
                results[event.job] = event.result
                position = len(jobs[event.job].clips)
            # A job that begins anew after a crash does not move the bar back.
            clips.update(max(0, position - reached[event.job]))
            reached[event.job] = max(position, reached[event.job])
        yield results.pop(job)


def _conclude(
    folder: pathlib.Path, plan: Plan, journals: Sequence[Journal], about: dict[str, Any]
) -> Result:
    """Metadata and report; last, the fingerprint, which stands for a finished dataset."""
    rows: dict[str, list[Written]] = {}
    shard_rows: dict[str, list[int]] = {}
    for shard, journal in zip(plan.shards, journals, strict=True):
        rows.setdefault(shard.split, []).extend(journal.rows)
        shard_rows.setdefault(shard.split, []).append(len(journal.rows))
    order = [split for split in ("train", "validation", "test") if rows.get(split)]
    omissions = (
        *plan.omissions,
        *(entry for journal in journals for entry in journal.entries if isinstance(entry, LeftOut)),
    )
    write_omissions(folder / "omissions.jsonl", omissions)
    if not order:
        raise ValueError(
            f"nothing is left of {len(plan.omissions) + plan.clips} clips: "
            f"{folder / 'omissions.jsonl'} says why"
        )
    rate = about["settings"]["rate"]
    summary = summarize({split: rows[split] for split in order}, omissions, rate)
    report = {
        "name": about["name"],
        "source": about["source"],
        "settings": about["settings"],
        "clips": plan.clips + len(plan.omissions),
        **summary,
        "straddling_groups": list(plan.straddling),
    }
    shapes = histograms(rows, rate)
    write_report(folder, report, shapes, omissions)
    write_metadata(
        folder,
        name=about["name"],
        description=f"{about['source']}, prepared by ldm_jax at {rate} Hz.",
        shard_rows={split: shard_rows[split] for split in order},
        split_bytes={split: summary["splits"][split]["bytes"] for split in order},
    )
    about |= {
        "shard_rows": {split: shard_rows[split] for split in order},
        "fingerprint": fingerprint(journals),
    }
    write_whole(folder / DESCRIPTION, _json(about))
    return Result(folder=folder, report=report, omissions=omissions)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
