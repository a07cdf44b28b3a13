"""Rows of tables in the kinds that people keep beside audio: CSV, TSV, JSON, JSON lines, Parquet.

A row that cannot be read is an `Omission` that names its line; those after it are read all the same.
"""

import codecs
import collections
import csv
import itertools
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TextIO

from ldm_jax.data.clip import Omission
from ldm_jax.data.sources.files import printable, stem_of, suffix_of
from ldm_jax.data.sources.json_stream import BrokenJSONError, is_lines, members

WRAPPERS = ("data", "annotations", "annotation", "audios", "clips", "items", "examples", "rows")
TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        where: table and line, for messages.
        cells: column -> text, number, list or dictionary; a JSON object's name in its table is its `file`.
    """

    where: str
    cells: dict[str, Any]


def read_table(path: pathlib.Path) -> Iterator[Row | Omission]:
    """The rows of a table with named columns, by its suffix.

    CSV: quoted or not, parted by commas, semicolons, tabs or bars as its header is; without a header where the
    first line already names a sounding file: then of two columns, file and caption. TSV: quotes only around
    whole cells. JSON: an array of objects, an object with such an array, an object of file -> caption(s) or
    file -> object, or JSON lines. Parquet: without its columns of bytes.
    """
    readers = {
        ".csv": _from_csv,
        ".tsv": _from_tsv,
        ".json": _from_json,
        ".jsonl": _from_lines,
        ".ndjson": _from_lines,
        ".parquet": _from_parquet,
    }
    try:
        yield from readers[suffix_of(path.name)](path)
    except OSError as error:
        yield Omission(
            name=printable(path.name), reason=f"cannot be read: {error.strerror or error}"
        )


def read_cells(
    path: pathlib.Path, *, delimiter: str = ",", quoted: bool = True, spaces: bool = False
) -> Iterator[tuple[str, list[str]] | Omission]:
    """(table and line, cells) of a delimited table, its header among them.

    Args:
        path: the table, in UTF-8, or UTF-16 with its mark.
        delimiter: between cells.
        quoted: cells may stand in quotes and then go over several lines; else a quote is a character.
        spaces: after delimiters, to be left out.
    """
    with _open(path) as file:
        for number, cells in _records(file, delimiter, quoted, spaces):
            where = f"{printable(path.name)}, line {number}"
            if isinstance(cells, str):
                yield Omission(name=where, reason=f"not CSV: {cells}")
            elif bad := _bad_byte(cells):
                yield Omission(name=where, reason=f"not UTF-8 (byte {bad})")
            elif cells:
                yield where, cells


def header(path: pathlib.Path) -> tuple[str, ...]:
    """The names of the columns of a table, as in its first row; () where there is none."""
    if suffix_of(path.name) == ".parquet":
        return tuple(_parquet_schema(path))
    if suffix_of(path.name) in (".csv", ".tsv"):
        try:
            delimiter = "\t" if suffix_of(path.name) == ".tsv" else _delimiter(path)
            first = next(read_cells(path, delimiter=delimiter), None)
        except OSError:
            return ()
        return () if first is None or isinstance(first, Omission) else tuple(_header_of(first[1]))
    first = next((row for row in read_table(path) if isinstance(row, Row)), None)
    return tuple(first.cells) if first else ()


def _open(path: pathlib.Path) -> TextIO:
    with open(path, "rb") as file:
        wide = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    encoding = "utf-16" if wide else "utf-8-sig"
    return open(
        path, encoding=encoding, errors="replace" if wide else "surrogateescape", newline=""
    )


def _records(
    lines: Iterator[str], delimiter: str, quoted: bool, spaces: bool
) -> Iterator[tuple[int, list[str] | str]]:
    """(line, cells), or (line, what is wrong with it); the lines after a wrong one are taken as they are."""
    again: collections.deque[str] = collections.deque()
    taken: list[str] = []
    number = 1

    def feed() -> Iterator[str]:
        while True:
            line = again.popleft() if again else next(lines, None)
            if line is None:
                return
            taken.append(line)
            yield line

    while True:
        quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        reader = csv.reader(
            feed(), delimiter=delimiter, quoting=quoting, strict=True, skipinitialspace=spaces
        )
        try:
            for cells in reader:
                yield number, cells
                number += len(taken)
                taken.clear()
            return
        except csv.Error as error:
            yield number, str(error)
            number += 1
            again.extendleft(reversed(taken[1:]))
            taken.clear()


def _delimiter(path: pathlib.Path) -> str:
    with _open(path) as file:
        first = file.readline(2**16)
    return max(",;\t|", key=first.count)  # of equals the first


def _from_csv(path: pathlib.Path) -> Iterator[Row | Omission]:
    yield from _named(read_cells(path, delimiter=_delimiter(path)))


def _from_tsv(path: pathlib.Path) -> Iterator[Row | Omission]:
    for row in _named(read_cells(path, delimiter="\t", quoted=False)):
        if isinstance(row, Row):
            row.cells.update({name: _unquoted(cell) for name, cell in row.cells.items()})
        yield row


def _unquoted(cell: str) -> str:
    whole = len(cell) >= 2 and cell[0] == cell[-1] == '"'
    return cell[1:-1].replace('""', '"') if whole else cell


def _named(records: Iterator[tuple[str, list[str]] | Omission]) -> Iterator[Row | Omission]:
    names: list[str] | None = None
    for record in records:
        if isinstance(record, Omission):
            yield record
            continue
        where, cells = record
        if names is None:
            names = _header_of(cells)
            if names != ["file", "caption"]:
                continue
            if cells == names:
                continue
        extra = cells[len(names) :]
        if len(cells) < len(names) or any(extra):
            yield Omission(
                name=where, reason=f"{len(cells)} cells where the header has {len(names)}"
            )
            continue
        yield Row(where, dict(zip(names, cells, strict=False)))


def _header_of(cells: Sequence[str]) -> list[str]:
    if len(cells) == 2 and stem_of(cells[0]) != cells[0]:
        return ["file", "caption"]
    return [cell.strip() for cell in cells]


def _from_lines(path: pathlib.Path) -> Iterator[Row | Omission]:
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"{printable(path.name)}, line {number}"
            if bad := _bad_byte((line,)):
                yield Omission(name=where, reason=f"not UTF-8 (byte {bad})")
                continue
            try:
                cells = json.loads(line)
            except (ValueError, RecursionError) as error:
                what = error.msg if isinstance(error, json.JSONDecodeError) else error
                yield Omission(name=where, reason=f"not JSON: {what}")
                continue
            if isinstance(cells, dict):
                yield Row(where, cells)
            else:
                yield Omission(name=where, reason=f"not an object but {line.strip()[:40]}")


def _from_json(path: pathlib.Path) -> Iterator[Row | Omission]:
    if is_lines(path):
        yield from _from_lines(path)
        return
    name, before = printable(path.name), 0
    try:
        for key, value in members(path, under=WRAPPERS):
            before += 1
            where = f"{name}, item {key}" if key.isdecimal() else f"{name}, {printable(key)}"
            if bad := _bad_byte((key, json.dumps(value, ensure_ascii=False))):
                yield Omission(name=where, reason=f"not UTF-8 (byte {bad})")
            elif isinstance(value, dict):
                yield Row(where, value if key.isdecimal() else {"file": key, **value})
            elif not key.isdecimal() and isinstance(value, str | list):
                yield Row(where, {"file": key, "caption": value})
            else:
                yield Omission(name=where, reason=f"not an object but {json.dumps(value)[:40]}")
    except BrokenJSONError as error:
        yield Omission(name=name, reason=f"{error}, after {before} items that were read")


def _from_parquet(path: pathlib.Path) -> Iterator[Row | Omission]:
    import pyarrow
    import pyarrow.parquet

    name = printable(path.name)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            kinds = {field.name: field.type for field in file.schema_arrow}
            columns = [
                name for name, kind in kinds.items() if not pyarrow.types.is_struct(kind)
                and not pyarrow.types.is_binary(kind) and not pyarrow.types.is_large_binary(kind)
            ]  # fmt: skip
            numbers = itertools.count()
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                for cells in batch.to_pylist():
                    yield Row(f"{name}, row {next(numbers)}", cells)
    except pyarrow.ArrowException as error:
        yield Omission(name=name, reason=f"not Parquet: {_first_line(error)}")


def _parquet_schema(path: pathlib.Path) -> dict[str, Any]:
    """Name -> type of each column; none where it is not Parquet."""
    import pyarrow
    import pyarrow.parquet

    try:
        return {field.name: field.type for field in pyarrow.parquet.read_schema(path)}
    except (pyarrow.ArrowException, OSError):
        return {}


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0].rstrip(".")


def _bad_byte(texts: Sequence[str]) -> str:
    """The first byte that was not UTF-8, as in 0xff; "" where all were."""
    for text in texts:
        if not text.isascii():
            for character in text:
                if "\udc80" <= character <= "\udcff":
                    return f"0x{ord(character) - 0xDC00:02x}"
    return ""
