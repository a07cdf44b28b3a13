"""Building the corpus, package by package; what one run began, the next one finishes.

`.build/PACKAGE.json` in the corpus's folder is written when all of a package's recordings are there: the rows, what
was left out and why, the licence texts. What else is under `.build/` is thrown away by the next run. The manifest,
`left_out.jsonl`, `ATTRIBUTION.md` and `licences/` are made of these records at the end of every run.
"""

import concurrent.futures
import functools
import json
import os
import pathlib
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tqdm import tqdm

from ldm_jax.audio.files import whole_file
from ldm_jax.audio.reading import AudioError
from ldm_jax.data.corpus import attribution, fetching, manifest, waves
from ldm_jax.data.corpus.containers import ContainerError
from ldm_jax.data.corpus.manifest import Row
from ldm_jax.data.corpus.packages import PACKAGES, Package
from ldm_jax.data.corpus.recordings import Found

NOT_DESCRIBED = "nothing in the package tells in words what is heard"

Outcome = dict[str, Any]  # of one recording: file, and either rows and hash, or a reason


def build(
    packages: Sequence[Package],
    out: pathlib.Path,
    *,
    debs: pathlib.Path | None = None,
    workers: int | None = None,
) -> dict[str, str]:
    """Builds `packages` into the folder `out`, beside what is there already.

    Args:
        packages: what to build, unless an earlier run has.
        out: the corpus's folder.
        debs: where .deb files lie already or are downloaded to, and stay. None downloads each into `out` and removes
            it when it is unpacked.
        workers: recordings converted at the same time; None is one for each processor.

    Returns:
        {package: why it could not be built}.

    Raises:
        OSError: `out` or `debs` cannot be written.
    """
    failures = {}
    _clear(out)
    for package in packages:
        if _record(package, out) is None:
            try:
                _build_one(package, out, debs=debs, workers=workers)
            except (fetching.FetchError, ContainerError) as error:
                failures[package.name] = str(error)
    assemble(out, failures)
    return failures


def versions(out: pathlib.Path) -> dict[str, str]:
    """{package: version} of what has been built into the folder `out`."""
    records = {package.name: _record(package, out) for package in PACKAGES}
    return {name: record["version"] for name, record in records.items() if record is not None}


def _build_one(
    package: Package, out: pathlib.Path, *, debs: pathlib.Path | None, workers: int | None
) -> None:
    unpacked = out / ".build" / package.name
    try:
        record = {
            "version": _fetch(package, unpacked, debs=debs),
            "outcomes": convert(package, unpacked, out, workers=workers),
            "texts": attribution.notes(package.name, unpacked),
        }
        with whole_file(out / ".build" / f"{package.name}.json") as temporary:
            temporary.write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _clear(out: pathlib.Path) -> None:
    """Throws away what a run that was killed has left."""
    for path in (out / ".build").glob("*/"):
        shutil.rmtree(path)
    for path in out.glob("*/*/.*.opus"):
        path.unlink()


def _fetch(package: Package, unpacked: pathlib.Path, *, debs: pathlib.Path | None) -> str:
    """Unpacks a package with those beside it, and gives its version."""
    folder = debs or unpacked.parent / "debs"
    versions = []
    for name in (package.name, *package.beside):
        deb = fetching.fetch(name, folder, megabytes=package.megabytes if not versions else 0.0)
        versions.append(fetching.version_of(deb))
        fetching.unpack(deb, unpacked)
        if debs is None:
            deb.unlink()
    return versions[0]


def convert(
    package: Package, unpacked: pathlib.Path, out: pathlib.Path, *, workers: int | None
) -> list[Outcome]:
    """What became of every recording of an unpacked package, in its order; their files lie below `out`.

    Raises:
        ContainerError: an archive of recordings is damaged.
        OSError: a file cannot be read or written.
    """
    found = list(package.collect(unpacked))
    work = functools.partial(_convert_one, package=package, out=out)
    # Threads: reading, resampling and encoding are C code that leaves Python to the others.
    pool = concurrent.futures.ThreadPoolExecutor(workers or os.cpu_count())
    try:
        outcomes = pool.map(work, found)
        return list(tqdm(outcomes, total=len(found), desc=package.name, unit="file"))
    finally:
        pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C the rest is not begun


def _convert_one(found: Found, *, package: Package, out: pathlib.Path) -> Outcome:
    file, audio, description = found
    if description is None or file in package.without:
        return {"file": file, "reason": package.without.get(file, NOT_DESCRIBED)}
    try:
        wave, rate = waves.read(audio)
        wave = waves.prepare(wave, trim=description.kind != "music")
    except AudioError as error:
        return {"file": file, "reason": str(error)}
    hashed = waves.content_hash(wave)
    rows = manifest.rows_of(
        wave, description, package=package, file=file, hashed=hashed, source_rate=rate
    )
    path = out / rows[0]["path"]
    if not path.exists():  # otherwise of a run before: its name holds the hash, and it is whole
        waves.write_opus(path, wave, kind=description.kind)
    return {"file": file, "hash": hashed, "rows": rows}


def _record(package: Package, out: pathlib.Path) -> dict[str, Any] | None:
    """The record of a package that is finished, with all its files in place."""
    path = out / ".build" / f"{package.name}.json"
    if not path.exists():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    paths = {row["path"] for outcome in record["outcomes"] for row in outcome.get("rows", ())}
    return record if all((out / path).exists() for path in paths) else None


def assemble(out: pathlib.Path, failures: dict[str, str]) -> None:
    """Writes the manifest and what stands beside it, from the records of all finished packages."""
    records = [(package, _record(package, out)) for package in PACKAGES]
    finished = [(package, record) for package, record in records if record is not None]
    rows, left_out = unique((package.name, record["outcomes"]) for package, record in finished)
    left_out += [
        {"package": name, "file": None, "reason": reason} for name, reason in failures.items()
    ]
    clips = Counter(
        package for package, _ in {(row["source_package"], row["path"]) for row in rows}
    )
    text = attribution.HEAD
    for package, record in finished:
        name, texts = package.name, record["texts"]
        for file, content in texts.items():
            with whole_file(out / "licences" / name / file) as temporary:
                temporary.write_text(content, encoding="utf-8")
        version, licence = record["version"], package.licence
        text += "\n" + attribution.section(
            name, version=version, licence=licence, clips=clips[name], texts=texts
        )
    with whole_file(out / "ATTRIBUTION.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    manifest.write_lines(out / "left_out.jsonl", left_out)
    manifest.write_lines(out / "manifest.jsonl", rows)


def unique(outcomes: Iterable[tuple[str, Sequence[Outcome]]]) -> tuple[list[Row], list[Row]]:
    """(rows of all recordings that differ in sound, the rest with their reasons), in the order given."""
    rows: list[Row] = []
    left_out: list[Row] = []
    first: dict[str, str] = {}  # by the hash of the sound
    for package, file, outcome in _flat(outcomes):
        if "reason" in outcome:
            reason = outcome["reason"]
        elif outcome["hash"] in first:
            reason = f"the same sound as {first[outcome['hash']]}"
        else:
            first[outcome["hash"]] = f"{package}: {file}"
            rows += outcome["rows"]
            continue
        left_out.append({"package": package, "file": file, "reason": reason})
    return rows, left_out


def _flat(
    outcomes: Iterable[tuple[str, Sequence[Outcome]]],
) -> Iterator[tuple[str, str, Outcome]]:
    for package, of_package in outcomes:
        for outcome in of_package:
            yield package, outcome["file"], outcome
