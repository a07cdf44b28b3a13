"""One clip, and the clips of one side."""

import dataclasses
import hashlib
import pathlib
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from ldm_jax.data.sources.files import printable, stem_of
from ldm_jax.eval.report.record import Problem


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """One file, or a stretch of it.

    Attributes:
        name: pairs it with the file of the same name on the other side; unique on its side.
        path: the file.
        captions: what it should sound like; the first is used where one is needed.
        transcript: what is to be said in it.
        start: where in the file it begins, in seconds.
        seconds: how long it is; None is to the file's end.
    """

    name: str
    path: pathlib.Path
    captions: tuple[str, ...] = ()
    transcript: str | None = None
    start: float = 0.0
    seconds: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipSet:
    """The clips of one side, as they were found.

    Attributes:
        source: the folder or manifest.
        clips: sorted by name.
        problems: files and lines that were left out, or taken by rule.
        aliases: other names by which the other side may mean a clip, with all clips that have it, so called.
        generation: settings that the records beside all clips agree on (steps, sampler and so on); {} where a
            clip has no record.
        reference: what a manifest pairs the clips with; None where it names no references.
    """

    source: str
    clips: tuple[Clip, ...]
    problems: tuple[Problem, ...] = ()
    aliases: Mapping[str, tuple[Clip, ...]] = dataclasses.field(default_factory=dict)
    generation: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    reference: "ClipSet | None" = None


def content_hash(clip: Clip) -> str:
    """SHA-256 in hexadecimal of what a clip's sound is read from: the whole file, and the stretch if it is one.

    Raises:
        OSError: the file cannot be read.
    """
    with clip.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    if clip.start or clip.seconds is not None:
        digest.update(f"\0{clip.start!r} {clip.seconds!r}".encode())
    return digest.hexdigest()


def clip_name(path: str) -> str:
    """A relative path as a name: without the suffix of a sounding file, accents in one form (macOS has another)."""
    return unicodedata.normalize("NFC", printable(stem_of(path)))


def by_name(clips: Iterable[Clip]) -> tuple[Clip, ...]:
    """In the order of names."""
    return tuple(sorted(clips, key=lambda clip: clip.name))


def by_file(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """In the order of files."""
    return tuple(sorted(problems, key=lambda problem: problem.file))
