"""Reading large JSON files member by member, so that gigabytes of annotations need no memory."""

import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any, TextIO

CHUNK = 2**16
LONGEST = 2**26  # characters of one member; what is longer is taken to be broken
LINE = 2**20  # characters of a line that may be an object
FIRST = 16  # members of an object among which the wrapped one is looked for
_DECODER = json.JSONDecoder()
_NUMBER = re.compile(r"[0-9.eE+-]*\Z")
_SPACE = re.compile(r"[ \t\r\n]*")


class BrokenJSONError(ValueError):
    """The text is not JSON from some place on; the message says where."""


def members(path: pathlib.Path, *, under: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """(name, value) of each member of an object, ("0", value), ("1", value), ... of each of an array.

    Bytes that are not UTF-8 come as lone surrogates in the strings.

    Args:
        path: the file.
        under: where the top is an object with a member of one of these names that is an object or an array,
            its members are given instead, and the other members are not.

    Raises:
        BrokenJSONError: when the reading comes to where it is no longer JSON.
        OSError: the file cannot be read.
    """
    wrapper = _wrapper(path, under) if under else None
    with _open(path) as file:
        text = _Text(file)
        for name in text.names():
            if name == wrapper:
                yield from ((inner, text.value()) for inner in text.names())
                return
            value = text.value()
            if wrapper is None:
                yield name, value


def is_lines(path: pathlib.Path) -> bool:
    """Whether a file begins with two lines that hold an object each, whatever it is called."""
    with _open(path) as file:
        first, second = file.readline(LINE), file.readline(CHUNK)
    try:
        return isinstance(json.loads(first), dict) and second.lstrip()[:1] == "{"
    except (ValueError, RecursionError):
        return False


def _wrapper(path: pathlib.Path, under: tuple[str, ...]) -> str | None:
    """Which of the names the object has, if it has one among its first members."""
    with _open(path) as file:
        text = _Text(file)
        if text.peek() != "{":
            return None
        for name, _ in zip(text.names(), range(FIRST), strict=False):
            if name in under and text.peek() in ("{", "["):
                return name
            text.value()
    return None


def _open(path: pathlib.Path) -> TextIO:
    return open(path, encoding="utf-8-sig", errors="surrogateescape")


class _Text:
    """Text of a file from a place on, as far as it was needed."""

    def __init__(self, file: TextIO):
        self._file, self._text, self._at, self._before = file, "", 0, 0

    def peek(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text) or not self._more(CHUNK):
                return self._text[self._at : self._at + 1]

    def names(self) -> Iterator[str]:
        """Stands before each value of the object or array that comes next, with its name or number."""
        closing = {"{": "}", "[": "]"}[self._take("{[")]
        if self.peek() == closing:
            self._take(closing)
            return
        number = 0
        while True:
            name = str(number)
            if closing == "}":
                name = self.value()
                self._take(":")
            yield name
            number += 1
            if self._take("," + closing) == closing:
                return

    def value(self) -> Any:
        """The next value, whole."""
        self.peek()
        size = CHUNK
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (json.JSONDecodeError, RecursionError) as error:
                if len(self._text) - self._at < LONGEST and self._more(size):
                    size *= 2
                    continue
                what = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
                raise BrokenJSONError(
                    f"not JSON near character {self._before + self._at}: {what}"
                ) from None
            if _NUMBER.match(self._text, end) and self._more(size):  # it may go on
                continue
            self._at = end
            return value

    def _take(self, allowed: str) -> str:
        found = self.peek()
        if not found or found not in allowed:
            where = f"near character {self._before + self._at}"
            raise BrokenJSONError(
                f"not JSON {where}: {found!r} in place of {' or '.join(allowed)}"
                if found
                else f"breaks off {where}"
            )
        self._at += 1
        return found

    def _more(self, size: int) -> bool:
        chunk = self._file.read(size)
        self._before += self._at
        self._text, self._at = self._text[self._at :] + chunk, 0
        return bool(chunk)
