"""One walk over a folder, and finding in it the file that a table means."""

import dataclasses
import os
import pathlib
import unicodedata
from collections.abc import Iterator, Mapping

from ldm_jax.data.clip import Omission

# What libsndfile reads, in the order of preference where one sound lies there in several formats.
READABLE = (
    ".wav", ".wave", ".flac", ".aif", ".aiff", ".aifc", ".w64", ".rf64", ".caf", ".au", ".snd",
    ".sph", ".opus", ".ogg", ".oga", ".mp3", ".mp2",
)  # fmt: skip
UNREADABLE = (
    ".m4a", ".aac", ".mp4", ".m4v", ".webm", ".mkv", ".mov", ".avi", ".wma", ".wmv", ".ape", ".wv",
    ".amr", ".ac3", ".dts", ".mka", ".3gp", ".mid",
)  # fmt: skip
OTHER = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".txt", ".parquet", ".tar", ".tgz", ".gz")
_ORDER = {suffix: i for i, suffix in enumerate(READABLE + UNREADABLE)}


class MissingError(LookupError):
    """No file, or no single one, is what a table means; the message is the end of a sentence."""


@dataclasses.dataclass(frozen=True, eq=False)
class Files:
    """What lies below a folder. Paths are relative to it, with "/" between parts, and in order.

    Attributes:
        root: the folder.
        audio: files that sound, also such that libsndfile does not read.
        other: tables, texts and archives.
        omissions: what the walk could not enter or take.
        unknown: all files with other suffixes.
    """

    root: pathlib.Path
    audio: tuple[str, ...]
    other: tuple[str, ...]
    omissions: tuple[Omission, ...]
    unknown: tuple[str, ...]
    _stems: Mapping[str, int | tuple[int, ...]]

    def path(self, index: int) -> str:
        """The path of a sounding file, to be opened."""
        return os.path.join(self.root, self.audio[index])

    def find(self, reference: str, *, prefer: str = "") -> int:
        """The index in `audio` of the file that a table means.

        A file is meant where its path, or the end of it, is the reference's, or the other way round (tables
        name files by their place on another machine). Suffix, case, the kind of slash and the form of accents
        may differ. Where several are meant, the most alike is taken, then the one below a folder whose name
        holds `prefer`, then, within one folder, the format that loses least.

        Raises:
            MissingError: there is none, or several are meant equally.
        """
        near: list[int] = []
        alone = self._stems.get(_key(stem_of(reference.rpartition("/")[2])))
        if isinstance(alone, int) and self.audio[alone] == reference:
            return alone  # most often, and then fast
        for parts in _readings(reference):
            near = self._candidates(parts[-1])
            best = sorted((self._rank(i, parts, prefer), i) for i in near if self._is(i, parts))
            if best:
                return self._single(best)
        if not near:
            raise MissingError("is not there")
        raise MissingError(
            f"is not there; {self.audio[near[0]]} has its name but lies in another folder"
        )

    def _candidates(self, name: str) -> list[int]:
        found: list[int] = []
        for stem in dict.fromkeys((_key(stem_of(name)), _key(name))):
            hit = self._stems.get(stem, ())
            found += [hit] if isinstance(hit, int) else hit
        return found

    def _is(self, index: int, parts: list[str]) -> bool:
        mine = self.audio[index].split("/")
        return all(_key(a) == _key(b) for a, b in zip(mine[-2::-1], parts[-2::-1], strict=False))

    def _rank(self, index: int, parts: list[str], prefer: str) -> tuple[int, ...]:
        """Smaller is more alike; the last number only tells formats apart."""
        mine = self.audio[index].split("/")
        alike = min(len(mine), len(parts))
        return (
            mine != parts,
            -alike,
            bool(prefer) and not any(prefer.casefold() in part.casefold() for part in mine[:-1]),
            mine[-1] != parts[-1],
            mine[-alike:] != parts[-alike:],
            suffix_of(mine[-1]) != suffix_of(parts[-1]),
            _ORDER[suffix_of(mine[-1])],
        )

    def _single(self, best: list[tuple[tuple[int, ...], int]]) -> int:
        rank, index = best[0]
        folder, _, _ = self.audio[index].rpartition("/")
        for other_rank, other in best[1:]:
            if other_rank[:-2] == rank[:-2] and self.audio[other].rpartition("/")[0] != folder:
                raise MissingError(f"could be {self.audio[index]} or {self.audio[other]}")
        return index


def walk(root: pathlib.Path) -> Files:
    """Looks once at everything below `root`, or at `root` alone if it is a file.

    Links are followed, each folder is entered once. Names that begin with a dot are not looked at.

    Raises:
        OSError: `root` itself cannot be read.
    """
    if root.is_file():
        return _files(root.parent, [root.name], [])
    os.scandir(root).close()
    omissions: list[Omission] = []
    return _files(root, _walk(str(root), omissions), omissions)


def stem_of(name: str) -> str:
    """The name without the suffix, if it is one of a sounding file."""
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and dot + suffix.lower() in _ORDER else name


def suffix_of(name: str) -> str:
    """In small letters, with its dot; "" where there is none."""
    return os.path.splitext(name)[1].lower()


def printable(path: str) -> str:
    """A path as text that can be stored: bytes that are not UTF-8 become U+FFFD, half characters "?"."""
    if path.isascii():
        return path
    try:
        return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:  # half a character, as JSON may write one
        return path.encode("utf-8", "replace").decode()


def relative_name(path: str) -> str:
    """A path as a clip's name: `printable`, without what leads out of its folder or nowhere."""
    parts = printable(path).split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))


def unreadable(path: str) -> str | None:
    """Why libsndfile cannot read a file of this name, or None."""
    suffix = suffix_of(path)
    if suffix in UNREADABLE:
        return f"libsndfile does not read {suffix}: convert it, as to .flac or .wav"
    return None


def _files(
    root: pathlib.Path, paths: Iterator[str] | list[str], omissions: list[Omission]
) -> Files:
    audio, other, unknown = [], [], []
    for path in paths:
        suffix = suffix_of(path)
        if suffix in _ORDER:
            audio.append(path)
        elif suffix in OTHER:
            other.append(path)
        else:
            unknown.append(path)
    stems: dict[str, int | tuple[int, ...]] = {}
    for index, path in enumerate(audio):
        key = _key(stem_of(path.rpartition("/")[2]))
        seen = stems.get(key)
        if seen is None:
            stems[key] = index
        else:  # short: few files share a name
            stems[key] = (*((seen,) if isinstance(seen, int) else seen), index)
    return Files(root, tuple(audio), tuple(other), tuple(omissions), tuple(unknown), stems)


def _walk(root: str, omissions: list[Omission]) -> Iterator[str]:
    """Relative paths of regular files, folder by folder, in order of names."""
    entered: dict[tuple[int, int], str] = {}
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        place = os.path.join(root, folder) if folder else root
        try:
            status = os.stat(place)
            before = entered.setdefault((status.st_dev, status.st_ino), folder)
            if before != folder:
                where = f"the folder {before}" if before else "the whole folder"
                omissions.append(
                    Omission(
                        name=printable(folder), reason=f"a link to {where}, which is read already"
                    )
                )
                continue
            with os.scandir(place) as entries:
                found = sorted((e for e in entries if e.name[0] != "."), key=lambda e: e.name)
        except OSError as error:
            reason = f"the folder cannot be read: {error.strerror}"
            omissions.append(Omission(name=printable(folder), reason=reason))
            continue
        below = []
        for entry in found:
            path = f"{folder}/{entry.name}" if folder else entry.name
            kind = _kind(entry)
            if kind == "folder":
                below.append(path)
            elif kind == "file":
                yield path
            elif suffix_of(entry.name) in _ORDER:
                omissions.append(Omission(name=printable(path), reason=kind))
        waiting += reversed(below)


def _kind(entry: os.DirEntry[str]) -> str:
    """A folder, a file, or in words what is neither."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
    except OSError as error:  # a link to itself
        return f"cannot be read: {error.strerror}"
    return "a link that leads nowhere" if entry.is_symlink() else "not a regular file"


def _readings(reference: str) -> Iterator[list[str]]:
    """The parts of a reference; again with backslashes as slashes where that makes a difference."""
    for text in dict.fromkeys((reference, reference.replace("\\", "/"))):
        parts = [part for part in text.strip().split("/") if part not in ("", ".")]
        if parts:
            yield parts


def _key(name: str) -> str:
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()
