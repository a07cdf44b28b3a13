"""What a package says of each of its recordings, and the words that are made of file names."""

import dataclasses
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

SUFFIXES = (".wav", ".ogg", ".oga", ".opus", ".flac", ".mp3", ".g722")

Audio = pathlib.Path | bytes | np.ndarray  # a file; its bytes; 16-bit samples at 16 kHz


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """What is heard in a recording.

    Attributes:
        kind: of the recording.
        caption: one phrase.
        quality: of the caption: 3 exact, 2 from a clear name, 1 vague.
        transcript: what is spoken, word for word.
        language: of the transcript, as in "en".
        speaker: a name of our own.
    """

    kind: Literal["sound", "music", "speech"]
    caption: str
    quality: int
    transcript: str | None = None
    language: str | None = None
    speaker: str | None = None


# What the path of a file in its package says is heard; None where it says nothing.
Rule = Callable[[str], Description | None]
Found = tuple[str, Audio, Description | None]  # a path in the package, its sound, what is heard
Collector = Callable[[pathlib.Path], Iterator[Found]]  # from the folder of an unpacked package


def by_name(rule: Rule) -> Collector:
    """Every audio file of a package, in the order of their paths, described by its path alone."""

    def collect(folder: pathlib.Path) -> Iterator[Found]:
        for path, name in audio_files(folder):
            yield name, path, rule(name)

    return collect


def is_audio(name: str) -> bool:
    """Whether a file is audio, by its name."""
    return name.lower().endswith(SUFFIXES)


def audio_files(folder: pathlib.Path) -> list[tuple[pathlib.Path, str]]:
    """(file, its path in the package) of every audio file, in the order of the latter."""
    files = [path for path in folder.rglob("*") if is_audio(path.name)]
    named = [(path, path.relative_to(folder).as_posix()) for path in files]
    return sorted(named, key=lambda pair: pair[1])


def sound(caption: str, quality: int) -> Description:
    """A sound."""
    return Description(kind="sound", caption=caption, quality=quality)


def music(caption: str) -> Description:
    """A piece of music, whose caption says no more than where it is from."""
    return Description(kind="music", caption=caption, quality=2)


def stem(name: str) -> str:
    """The last part of a path, without its suffix."""
    return pathlib.PurePosixPath(name).stem


def parent(name: str) -> str:
    """The last but one part of a path."""
    return pathlib.PurePosixPath(name).parent.name


def words(name: str) -> str:
    """`door_openSlow-03` as "door open slow": small letters, single spaces, no numbers of takes."""
    text = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    text = re.sub(r"[_\-~.]+", " ", text)
    text = re.sub(r"\d+[a-e]?\b", " ", text)
    return " ".join(text.split()).lower()


def with_article(noun: str) -> str:
    """`noun` behind "a" or "an"."""
    return ("an " if noun[:1] in set("aeiou") else "a ") + noun
