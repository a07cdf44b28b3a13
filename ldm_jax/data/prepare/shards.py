"""Writing shards: a worker writes all rows of one, the parent takes out what was there before and names it."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ldm_jax.data.clip import Clip
from ldm_jax.data.prepare.journal import (
    UNFINISHED,
    Entry,
    Journal,
    LeftOut,
    Written,
    read_head,
    read_journal,
    write_journal,
)
from ldm_jax.data.prepare.pieces import Made, make_rows
from ldm_jax.data.prepare.plan import Shard
from ldm_jax.data.prepare.settings import Settings
from ldm_jax.data.rows import to_bytes

OPTIONS = "group_size:1,uncompressed"  # one record a read; the audio in it is compressed already
Seen = dict[bytes, str]  # hash of the sound -> who has it, for all rows that come before


@dataclasses.dataclass(frozen=True, kw_only=True)
class Files:
    """Where the parts of a shard lie."""

    shard: pathlib.Path
    journal: pathlib.Path

    @property
    def unfinished(self) -> pathlib.Path:
        """What a worker of this process writes; one that a killed process left behind writes another."""
        return self.shard.with_name(f"{self.shard.name}.{os.getpid()}{UNFINISHED}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker is told."""

    path: str
    clips: tuple[Clip, ...]
    settings: Settings


def files_of(shard: Shard, folder: pathlib.Path, name: str) -> Files:
    """The files of a shard of the dataset `name` in `folder`."""
    return Files(
        shard=folder / f"{name}-{shard.split}.array_record-{shard.suffix}",
        journal=folder / "journal" / f"{shard.split}-{shard.suffix}.jsonl",
    )


def write_rows(job: Job, avoid: frozenset[int], begin: Callable[[int], None]) -> list[Entry]:
    """Writes every row of the clips but those in `avoid`; runs in a worker.

    Raises:
        OSError: the file cannot be written.
    """
    entries: list[Entry] = []
    with _writer(pathlib.Path(job.path)) as write:
        for place, clip in enumerate(job.clips):
            if place in avoid:
                reason = "reading it ended two processes, by a crash or for want of memory"
                entries.append(LeftOut(name=clip.name, why="crash", reason=reason))
                continue
            begin(place)
            for made in make_rows(clip, job.settings):
                if isinstance(made, LeftOut):
                    entries.append(made)
                    continue
                record = to_bytes(made.row)
                write(record)
                entries.append(_entry(made, record))
    return entries


def _entry(made: Made, record: bytes) -> Written:
    row = made.row
    return Written(
        captions=tuple(map(len, row.captions)),
        transcript=len(row.transcript),
        rate=made.rate,
        channels=made.channels,
        cut_off=made.cut_off,
        size=len(row.audio),
        record=hashlib.blake2b(record, digest_size=16).hexdigest(),
        **{field: getattr(row, field) for field in _SHARED},
    )


_SHARED = ("name", "hash", "samples", "peak", "loudness", "kind", "language")


def finish(shard: Shard, files: Files, entries: Sequence[Entry] | None, seen: Seen) -> Journal:
    """Takes rows out of the worker's file whose sound is in `seen`, adds the others to it, and names the file.

    To be called in the order of the plan. The journal appears last and so stands for a finished shard.

    Args:
        shard: of the plan.
        files: of the shard.
        entries: the worker's; None where the shard was finished by an earlier run.
        seen: the sounds of all shards before.

    Raises:
        OSError: the files cannot be written.
    """
    if entries is None:
        journal = read_journal(files.journal)
        for row in journal.rows:
            _settle(row, shard, seen)
        return journal
    settled = [_settle(entry, shard, seen) for entry in entries]
    if settled != list(entries):
        pairs = zip(entries, settled, strict=True)
        _keep(files.unfinished, [old is new for old, new in pairs if isinstance(old, Written)])
    size = files.unfinished.stat().st_size
    os.replace(files.unfinished, files.shard)
    journal = Journal(key=shard.key, size=size, entries=tuple(settled))
    write_journal(files.journal, journal)
    return journal


def finished(shard: Shard, files: Files) -> bool:
    """Whether an earlier run came to the end of the shard."""
    try:
        size = files.shard.stat().st_size
        return read_head(files.journal) == {"key": shard.key, "size": size}
    except (OSError, ValueError):
        return False


def _settle(entry: Entry, shard: Shard, seen: Seen) -> Entry:
    if isinstance(entry, LeftOut):
        return entry
    sound = bytes.fromhex(entry.hash)
    if sound in seen:
        reason = f"the same sound as {seen[sound]}"
        return LeftOut(name=entry.name, why="duplicate", reason=reason)
    seen[sound] = f"{entry.name} ({shard.split})"
    return entry


def _keep(path: pathlib.Path, kept: list[bool]) -> None:
    """Rewrites a file of records with those for which `kept` is true."""
    from array_record.python.array_record_module import ArrayRecordReader

    old = path.with_name(f"all-of-{path.name}")
    os.replace(path, old)
    reader = ArrayRecordReader(str(old))
    with _writer(path) as write:
        for record, keep in zip(_records(reader, len(kept)), kept, strict=True):
            if keep:
                write(record)
    reader.close()
    old.unlink()


def _records(reader: Any, count: int) -> Iterator[bytes]:
    for start in range(0, count, 64):  # not all in memory
        yield from reader.read(start, min(count, start + 64))


@contextlib.contextmanager
def _writer(path: pathlib.Path) -> Iterator[Callable[[bytes], None]]:
    """Writes records to a new file; what array_record calls RuntimeError is an OSError here."""
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), OPTIONS)

    def write(record: bytes) -> None:
        _told(lambda: writer.write(record), path)

    try:
        if not writer.ok():
            _told(lambda: writer.write(b""), path)
        yield write
    finally:
        _told(writer.close, path)


def _told(act: Callable[[], object], path: pathlib.Path) -> None:
    try:
        act()
    except RuntimeError as error:
        what, _, _ = str(error).partition(";")  # where in the file it failed helps nobody
        raise OSError(f"cannot write {path}: {what}") from None


def fingerprint(journals: Iterable[Journal]) -> str:
    """BLAKE2b, 128 bits in hexadecimal, of all rows in order."""
    digest = hashlib.blake2b(digest_size=16)
    for journal in journals:
        for row in journal.rows:
            digest.update(bytes.fromhex(row.record))
    return digest.hexdigest()
