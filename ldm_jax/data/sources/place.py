"""Where a source lies, looked over once, and what its user said of it."""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Literal

from ldm_jax.data.sources.files import Files, stem_of, suffix_of, walk
from ldm_jax.data.sources.tables import TABLES

Names = Literal["none", "file", "path"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """What a layout is told.

    Attributes:
        where: the folder or file that was asked for.
        files: what lies where the audio is.
        beside: .txt and .json files, relative to the audio, that are each called like a sound beside them.
        tables: all other files in which annotations may stand, in order; with texts and archives among them.
        given: whether the user named the tables.
        spoken: as of `columns.columns`.
        names: what a file's name is good for where nothing else says what it holds.
        sample_rate: of samples whose dataset does not tell it, in Hz.
        subset: a part of the dataset, for those that have named parts.
        exclude: a JSON file of names to leave out, for those that publish such lists.
    """

    where: pathlib.Path
    files: Files
    beside: frozenset[str]
    tables: tuple[pathlib.Path, ...]
    given: bool = False
    spoken: bool | None = None
    names: Names = "none"
    sample_rate: int | None = None
    subset: str | None = None
    exclude: pathlib.Path | None = None

    def called(self, *suffixes: str) -> Iterator[pathlib.Path]:
        """The tables with one of these suffixes."""
        return (table for table in self.tables if suffix_of(table.name) in suffixes)


def look_over(
    where: pathlib.Path,
    *,
    captions: pathlib.Path | None = None,
    audio: pathlib.Path | None = None,
    spoken: bool | None = None,
    names: Names = "none",
    sample_rate: int | None = None,
    subset: str | None = None,
    exclude: pathlib.Path | None = None,
) -> Place:
    """Looks once at everything below the folders of a source; arguments as of `open_source`.

    Raises:
        OSError: one of them cannot be read.
    """
    if captions is None and where.is_file() and suffix_of(where.name) in TABLES:
        captions = where
    if audio is None:
        audio = where.parent if where.is_file() and captions == where else where
    files = walk(audio)
    annotated = files if (captions or where) == audio else walk(captions or where)
    if annotated is not files:
        files = dataclasses.replace(files, omissions=(*files.omissions, *annotated.omissions))
    beside = _beside(files)
    tables = tuple(
        annotated.root / path
        for path in annotated.other
        if annotated.root != files.root or path not in beside
    )
    return Place(
        where=where,
        files=files,
        beside=beside,
        tables=tables,
        given=captions is not None,
        spoken=spoken,
        names=names,
        sample_rate=sample_rate,
        subset=subset,
        exclude=exclude,
    )


def _beside(files: Files) -> frozenset[str]:
    texts = [path for path in files.other if suffix_of(path) in (".txt", ".json")]
    if not texts:
        return frozenset()
    sounds = {stem_of(path) for path in files.audio} | set(files.audio)
    return frozenset(path for path in texts if path.rpartition(".")[0] in sounds)
