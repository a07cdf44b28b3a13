"""Parquet files as Hugging Face stores sets: whole audio files in a column, texts in others.

The column is binary or a struct of `bytes` and `path`; the texts are told by their names (`columns`). What is
embedded is cut already, so that times in other columns (of the recording it was cut from) do not count.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

from ldm_jax.data.clip import Clip, Omission
from ldm_jax.data.locations import ParquetCell
from ldm_jax.data.sources.columns import CellError, columns, fields, split_named
from ldm_jax.data.sources.files import printable, relative_name
from ldm_jax.data.sources.folder import stem_of_table
from ldm_jax.data.sources.place import Place

BATCH_ROWS = 1024


def looks_like(place: Place) -> bool:
    """Whether there is a Parquet file with a column of audio, or a broken one, and no plain audio."""
    return not place.files.audio and any(
        schema is None or audio_column(schema) for schema in map(_schema, place.called(".parquet"))
    )


def clips(place: Place) -> Iterator[Clip | Omission]:
    """A clip of each row: named by its `path`, or else by file and row."""
    for table in place.called(".parquet"):
        yield from _clips(table, table.relative_to(place.files.root), place.spoken)
    yield from place.files.omissions


def audio_column(schema: Any) -> str | None:
    """The column that holds audio files, if there is one: a struct with `bytes`, or binary."""
    import pyarrow

    for field in schema or ():
        if pyarrow.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            return field.name
    for field in schema or ():
        if pyarrow.types.is_binary(field.type) or pyarrow.types.is_large_binary(field.type):
            return field.name
    return None


def _schema(path: pathlib.Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_schema(path)
    except (pyarrow.ArrowException, OSError):
        return None


def _clips(
    path: pathlib.Path, relative: pathlib.Path, spoken: bool | None
) -> Iterator[Clip | Omission]:
    import pyarrow
    import pyarrow.parquet

    name = printable(relative.as_posix())
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            audio = audio_column(schema)
            if audio is None:
                reason = f"no column of audio files; it has {', '.join(schema.names)}"
                yield Omission(name=name, reason=reason)
                return
            texts = [field.name for field in schema if _is_plain(field.type)]
            has_path = pyarrow.types.is_struct(schema.field(audio).type) and (
                schema.field(audio).type.get_field_index("path") >= 0
            )
            wanted = [*texts, f"{audio}.path"] if has_path else texts
            meaning = columns(tuple(texts), spoken=spoken)
            split = split_named(stem_of_table(path)) or split_named(relative.parent.name)
            for group in range(file.num_row_groups):
                row = 0
                for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=wanted):
                    for cells in batch.to_pylist() if wanted else [{}] * batch.num_rows:
                        location = ParquetCell(str(path), audio, group, row)
                        where = f"{name}, group {group}, row {row}"
                        row += 1
                        inner = cells.pop(audio, None)
                        yield _clip(
                            cells, meaning, location, where, (inner or {}).get("path"), split
                        )
    except (pyarrow.ArrowException, OSError) as error:
        yield Omission(name=name, reason=f"cannot be read as Parquet: {str(error).splitlines()[0]}")


def _is_plain(kind: Any) -> bool:
    import pyarrow

    of_bytes = pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)
    return not (of_bytes or pyarrow.types.is_struct(kind))


def _clip(
    cells: dict[str, Any],
    meaning: Any,
    audio: ParquetCell,
    where: str,
    path: str | None,
    split: Any,
) -> Clip | Omission:
    try:
        known = fields(cells, meaning._replace(start="", end="", seconds=""))
    except CellError as error:
        return Omission(name=where, reason=str(error))
    if split:
        known.setdefault("split", split)
    named = next((str(cells[name]) for name in meaning.files if cells.get(name)), "")
    return Clip(name=relative_name(path or named or where), audio=audio, **known)
