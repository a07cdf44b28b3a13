"""The key of a test: which system stands behind a clip, and which answers are known."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ldm_jax.eval.listening.making import FORMAT
from ldm_jax.eval.listening.questions import Scale

WEBMUSHRA_FORMAT = "ldm_jax webMUSHRA test 1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Key:
    """What `make` wrote.

    Attributes:
        test: its identity.
        title: as raters saw it.
        questions: by name; "mushra" alone for webMUSHRA's page of that kind.
        scale: 5 or 100.
        systems: in the order of the command line.
        clips: of a page, by number: {"system", "item", ...}, or {"check"}.
        rows: of a page: {"clip", "text", "check"} for each trial.
        pages: of webMUSHRA, by the trial's id: {"item", "stimuli": {id: system}}.
        reference: of webMUSHRA's page of that kind.
    """

    test: str
    title: str
    questions: tuple[str, ...]
    scale: Scale
    systems: tuple[str, ...]
    clips: Sequence[Mapping[str, Any]] = ()
    rows: Sequence[Sequence[Mapping[str, Any]]] = ()
    pages: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    reference: str = ""


def read_key(path: pathlib.Path) -> Key:
    """The key in a file.

    Raises:
        ValueError: it is not there, or no key.
    """
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(
            f"{path} is not there; the key is what `make` wrote beside the page"
        ) from None
    except (ValueError, RecursionError):
        found = {}
    found = found if isinstance(found, dict) else {}
    if found.get("format") not in (FORMAT, WEBMUSHRA_FORMAT) or "systems" not in found:
        raise ValueError(
            f"{path} is not the key of a listening test; `make` writes one beside the page, as NAME.key.json"
        )
    try:
        return Key(
            test=found["test"],
            title=found["title"],
            questions=tuple(found["questions"]),
            scale=found["scale"],
            systems=tuple(found["systems"]),
            clips=found.get("clips", ()),
            rows=found.get("rows", ()),
            pages=found.get("pages", {}),
            reference=found.get("reference", ""),
        )
    except KeyError as error:
        raise ValueError(f"{path} is a key without {error}; it was changed or cut") from None
