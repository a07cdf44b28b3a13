"""Which clips are judged, what they are held against, and what is said of them."""

import dataclasses
import pathlib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """One file.

    Attributes:
        name: pairs it with the file of the same name on the other side; unique on its side.
        path: the file.
        captions: what it should sound like; the first is used where one is needed.
        transcript: what is to be said in it.
    """

    name: str
    path: pathlib.Path
    captions: tuple[str, ...] = ()
    transcript: str | None = None
