"""Comparing a corpus with the one that this builder was written after, row by row.

`reference.txt` holds for each package its version in Debian 12 and eight hexadecimal digits of SHA-256 of each row.
"""

import dataclasses
import functools
import hashlib
import importlib.resources
import json
from collections import Counter
from collections.abc import Iterable, Mapping

from ldm_jax.data.corpus.manifest import Row


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expected:
    """A package in the reference: its version, and how often each digest occurs among its rows."""

    version: str
    digests: Counter[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """How a package's rows differ from the reference.

    Attributes:
        equal: rows that are the same in every field.
        other: rows that the reference does not have, or has otherwise.
        missing: rows of the reference that are not there, or are there otherwise.
    """

    equal: int
    other: tuple[Row, ...]
    missing: int


def digest(row: Row) -> str:
    """Eight digits that change with any field of a row."""
    text = json.dumps(row, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@functools.cache
def reference() -> Mapping[str, Expected]:
    """{package: what is expected of it}."""
    table = importlib.resources.files("ldm_jax.data.corpus") / "reference.txt"
    return read_reference(table.read_text(encoding="utf-8"))


def read_reference(text: str) -> dict[str, Expected]:
    """The reference of lines "PACKAGE VERSION", each followed by indented lines of digests."""
    expected: dict[str, Expected] = {}
    for line in text.splitlines():
        if line.startswith(" "):
            expected[next(reversed(expected))].digests.update(line.split())
        else:
            package, version = line.split()
            expected[package] = Expected(version=version, digests=Counter())
    return expected


def format_reference(rows: Iterable[Row], versions: Mapping[str, str]) -> str:
    """The text that `read_reference` reads."""
    text = ""
    rows = list(rows)
    for package, version in versions.items():
        digests = [digest(row) for row in rows if row["source_package"] == package]
        lines = [" " + " ".join(digests[k : k + 12]) for k in range(0, len(digests), 12)]
        text += "\n".join([f"{package} {version}", *lines]) + "\n"
    return text


def compare(rows: Iterable[Row], expected: Mapping[str, Expected]) -> dict[str, Difference]:
    """{package: how its rows differ}, of every package that has rows or should have."""
    by_package: dict[str, list[Row]] = {package: [] for package in expected}
    for row in rows:
        by_package.setdefault(row["source_package"], []).append(row)
    differences = {}
    for package, found in by_package.items():
        wanted = Counter(expected[package].digests) if package in expected else Counter()
        other = []
        for row in found:
            if wanted[digest(row)]:
                wanted[digest(row)] -= 1
            else:
                other.append(row)
        differences[package] = Difference(
            equal=len(found) - len(other), other=tuple(other), missing=wanted.total()
        )
    return differences
