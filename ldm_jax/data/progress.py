"""A bar on a terminal; in a log, a line every half minute."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")
LOG_SECONDS = 30.0  # between the lines of a log


class _Lines:
    """Takes what tqdm writes over itself and puts it into lines of their own."""

    def write(self, text: str) -> None:
        if line := text.strip():
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def bar(what: str, *, total: int | None = None, initial: int = 0, unit: str = "clips") -> Any:
    """A `tqdm`."""
    from tqdm import tqdm

    rare: dict[str, Any] = {"mininterval": LOG_SECONDS, "maxinterval": LOG_SECONDS}
    way = {} if sys.stderr.isatty() else {"file": _Lines(), "ncols": 100, "ascii": True, **rare}
    return tqdm(desc=what, total=total, initial=initial, unit=f" {unit}", miniters=1, **way)


def counted(what: str, items: Iterable[Item]) -> Iterator[Item]:
    """The items, while a bar counts them."""
    with bar(what) as count:
        for item in items:
            yield item
            count.update()
