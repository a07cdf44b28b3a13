"""Looking up a name in a table of functions, with an error that says what there is."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def choose(table: Mapping[str, T], name: str, *, what: str) -> T:
    """`table[name]`.

    Raises:
        ValueError: `name` is not in the table; the message lists what is.
    """
    if name not in table:
        raise ValueError(f"{what} must be one of {', '.join(table)}, but got {name!r}.")
    return table[name]
