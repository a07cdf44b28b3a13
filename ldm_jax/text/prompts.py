"""Prompt files: one clip a line, as plain text, CSV or JSON lines."""

import csv
import dataclasses
import io
import json
import pathlib

COLUMNS = ("prompt", "negative_prompt", "transcript", "seed", "name")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What one clip is asked to be; None leaves a field to the command's options."""

    prompt: str
    negative_prompt: str | None = None
    transcript: str | None = None
    seed: int | None = None
    name: str | None = None


def read_prompts(path: pathlib.Path) -> list[Request]:
    """Reads a prompt file by its suffix.

    `.txt`: a prompt a line, empty lines left out. `.csv`: a header with `prompt` and any of `negative_prompt`,
    `transcript`, `seed`, `name`. `.jsonl`: an object with these fields a line.

    Raises:
        ValueError: another suffix, not UTF-8, a malformed or empty entry (with its line), or no prompt at all.
        OSError: the file cannot be read.
    """
    readers = {".txt": _from_text, ".csv": _from_csv, ".jsonl": _from_jsonl}
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path}: a prompt file is one of {', '.join(readers)}")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: not UTF-8 (byte 0x{content[error.start]:02x})"
        ) from None
    requests = readers[path.suffix.lower()](path, text)
    if not requests:
        raise ValueError(f"{path}: no prompt in it")
    return requests


def _request(path: pathlib.Path, line: int, fields: dict) -> Request:
    where = f"{path}, line {line}"
    if unknown := [str(key) for key in fields if key not in COLUMNS]:
        raise ValueError(
            f"{where}: unknown field {', '.join(unknown)}; known are {', '.join(COLUMNS)}"
        )
    fields = {key: value for key, value in fields.items() if value not in (None, "")}
    if "seed" in fields:
        try:
            fields["seed"] = int(fields["seed"])
        except (TypeError, ValueError):
            raise ValueError(
                f"{where}: the seed {fields['seed']!r} is not a whole number"
            ) from None
    for key, value in fields.items():
        if key != "seed" and not isinstance(value, str):
            raise ValueError(f"{where}: {key} should be text, not {value!r}")
    if not fields.get("prompt", "").strip():
        raise ValueError(f"{where}: the prompt is empty")
    return Request(**fields)


def _from_text(path: pathlib.Path, text: str) -> list[Request]:
    return [
        _request(path, number, {"prompt": line.strip()})
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    ]


def _from_csv(path: pathlib.Path, text: str) -> list[Request]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    requests = []
    try:
        if "prompt" not in (reader.fieldnames or ()):
            raise ValueError(f"{path}, line 1: the header has no column named prompt")
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(
                    f"{path}, line {reader.line_num}: another number of cells than the header has"
                )
            requests.append(_request(path, reader.line_num, row))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from None
    return requests


def _from_jsonl(path: pathlib.Path, text: str) -> list[Request]:
    requests = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error.msg})") from None
        if not isinstance(fields, dict):
            raise ValueError(
                f"{path}, line {number}: an object is expected, not {line.strip()[:40]}"
            )
        requests.append(_request(path, number, fields))
    return requests
