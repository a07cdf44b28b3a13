"""What became of every clip: a JSON line a row and a line an omission, one file a shard."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from ldm_jax.data.clip import Omission

# Why clips are left out: as `omissions.jsonl` calls it, and after a count, for a person.
WHY = {
    "source": "of which the source cannot give a clip",
    "name": "of a name that came before",
    "caption": "without a caption",
    "kind": "of another kind",
    "transcript": "without a transcript",
    "unreadable": "unreadable",
    "short": "too short",
    "long": "too long for a clip with a transcript",
    "silent": "silent",
    "scale": "far beyond full scale",
    "duplicate": "with the sound of another",
    "crash": "that crash the decoder",
}
UNFINISHED = ".partial"  # the end of the name of every file that is still being written


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeftOut(Omission):
    """An omission, and which of `WHY` it counts under."""

    why: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What the report and the next run need to know of a row.

    Attributes:
        name, hash, samples, peak, loudness, kind, language: as of the row.
        captions: characters of each.
        transcript: characters.
        rate, channels: of the source's file.
        cut_off: samples left away at the end, fewer than a row may have.
        size: of the stored audio, in bytes.
        record: BLAKE2b of the whole record, 128 bits in hexadecimal.
    """

    name: str
    hash: str
    samples: int
    peak: float
    loudness: float
    kind: str
    language: str
    captions: tuple[int, ...]
    transcript: int
    rate: int
    channels: int
    cut_off: int
    size: int
    record: str


Entry = Written | LeftOut


@dataclasses.dataclass(frozen=True, kw_only=True)
class Journal:
    """What became of the clips of one shard.

    Attributes:
        key: of the shard's clips and settings (`Shard.key`).
        size: of the shard, in bytes.
        entries: in the order of the clips; the rows among them are those of the shard.
    """

    key: str
    size: int
    entries: tuple[Entry, ...]

    @property
    def rows(self) -> list[Written]:
        """The rows of the shard, in order."""
        return [entry for entry in self.entries if isinstance(entry, Written)]


def write_journal(path: pathlib.Path, journal: Journal) -> None:
    """Writes a journal; it appears whole or not at all."""
    head = json.dumps({"key": journal.key, "size": journal.size})
    write_whole(path, "".join(f"{line}\n" for line in (head, *_lines(journal.entries))))


def read_head(path: pathlib.Path) -> dict[str, Any]:
    """Key and size of a journal.

    Raises:
        ValueError, OSError: it is none, or it is not there.
    """
    with path.open(encoding="utf-8") as lines:
        return json.loads(lines.readline())


def read_journal(path: pathlib.Path) -> Journal:
    """A journal that `read_head` can read."""
    head, *lines = path.read_text("utf-8").split("\n")[:-1]
    return Journal(**json.loads(head), entries=tuple(map(_entry, lines)))


def write_omissions(path: pathlib.Path, omissions: Iterable[LeftOut]) -> None:
    """Writes `omissions.jsonl`."""
    write_whole(path, "".join(f"{line}\n" for line in _lines(omissions)))


def write_whole(path: pathlib.Path, content: str | bytes) -> None:
    """Writes a file by way of one that ends in `UNFINISHED`, so that it appears whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_name(path.name + UNFINISHED)
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(partial, path)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}") from None


def _lines(entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        yield json.dumps(dataclasses.asdict(entry), ensure_ascii=False)


def _entry(line: str) -> Entry:
    fields = json.loads(line)
    if "why" in fields:
        return LeftOut(**fields)
    return Written(**{**fields, "captions": tuple(fields["captions"])})
