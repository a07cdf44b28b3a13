"""A clip as its source names it, before any sound is read."""

import dataclasses
import io
from typing import Literal, Protocol, runtime_checkable

Split = Literal["train", "validation", "test"]
Kind = Literal["", "sound", "music", "speech"]


@runtime_checkable  # for the tests, which check annotations
class Location(Protocol):
    """Where the bytes of an audio file lie. Small and picklable; `str` names it to a person."""

    def open(self) -> io.BufferedIOBase:
        """A seekable stream over the whole audio file, to be closed by the caller.

        Raises:
            OSError: it is not there or cannot be read.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """One clip of a source.

    Attributes:
        name: unique in its source, as a path relative to it, with "/" between parts.
        audio: where its sound is.
        captions: what may be said of it, any of which fits; none where the source has none.
        transcript: what is spoken in it, word for word; "" where nothing is or nobody knows.
        labels: classes, as AudioSet's "/m/05zppz" or plain words.
        kind: sound, music or speech; "" where the source does not say.
        language: of the transcript, as in "en"; "" unknown.
        speaker: a name or number; "" unknown.
        licence: as in "CC-BY-4.0"; "" unknown.
        origin: the dataset, package or collection it comes from.
        quality: of the captions: 3 exact, 2 from a clear name, 1 vague, 0 not known.
        split: as the source says; None leaves it to the preparation.
        group: clips of one recording, speaker or sentence, which may not stand on both sides of a split; "" is
            the clip alone.
        start: where in the file it begins, in seconds.
        seconds: how long it is; None is to the file's end.
    """

    name: str
    audio: Location
    captions: tuple[str, ...] = ()
    transcript: str = ""
    labels: tuple[str, ...] = ()
    kind: Kind = ""
    language: str = ""
    speaker: str = ""
    licence: str = ""
    origin: str = ""
    quality: int = 0
    split: Split | None = None
    group: str = ""
    start: float = 0.0
    seconds: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Omission:
    """What a source names but cannot give.

    Attributes:
        name: of the clip, file or line, as the source has it.
        reason: one sentence for the report.
    """

    name: str
    reason: str
