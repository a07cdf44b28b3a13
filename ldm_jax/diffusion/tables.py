"""Looking up a name in a table of functions, with an error that says what there is."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def choose(table: Mapping[str, T], name: str, *, what: str) -> T:
    """`table[name]`.

    Raises:
        ValueError: `name` is not in the table; the message lists what is.
    """
    if name not in table:
        raise ValueError(f"{what} must be one of {', '.join(table)}, but got {name!r}.")
    return table[name]


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """A name and options from one word of a config: ("bsa", {"gamma": 5}) from "bsa:gamma=5".

    Further options follow after commas. Values are ints or floats where they can be read so, else words.

    Raises:
        ValueError: an option without a value.
    """
    name, _, rest = text.partition(":")
    options: dict[str, Any] = {}
    for pair in filter(None, rest.split(",")):
        option, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"Options are written name:option=value,..., but got {text!r}.")
        options[option] = _number(value)
    return name, options


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def configured(
    table: Mapping[str, Callable[..., T]], text: str, options: Mapping[str, Any], *, what: str
) -> "functools.partial[T]":
    """The function that `text` names, with the keyword-only options set that `text` (see `parse`) or `options` give.

    Raises:
        ValueError: the name is not in the table, its function has no such option, or one is a word where the
            default is a number, or the other way round.
    """
    name, written = parse(text)
    chosen = {**written, **options}
    function = choose(table, name, what=what)
    parameters = inspect.signature(function).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    for option, value in chosen.items():
        if option not in defaults:
            known = f"has only {', '.join(defaults)}" if defaults else "has no options"
            raise ValueError(f"{what} {name!r} {known}, but got {option}={value!r}.")
        if isinstance(value, str) != isinstance(defaults[option], str):
            kind = "word" if isinstance(defaults[option], str) else "number"
            raise ValueError(f"{what} {name!r} takes a {kind} for {option}, but got {value!r}.")
    return functools.partial(function, **chosen)
