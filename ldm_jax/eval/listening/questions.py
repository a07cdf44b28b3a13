"""What raters are asked of a clip."""

import dataclasses
from typing import Literal

Scale = Literal[5, 100]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """One question with its scale.

    Attributes:
        name: short, as in tables and on the command line.
        ask: what raters read.
        labels: of the five points of the scale, or of its five fifths where it goes from 0 to 100, lowest first.
        text: what of the item is shown beside it: what the clip should sound like, what is said in it, or nothing.
    """

    name: str
    ask: str
    labels: tuple[str, str, str, str, str]
    text: Literal["caption", "transcript", ""] = ""


# The absolute category rating of ITU-T P.800 for quality; AudioGen (arXiv 2209.15352) asked OVL and REL.
QUALITY = ("Bad", "Poor", "Fair", "Good", "Excellent")
QUESTIONS = {
    "ovl": Question(
        name="ovl", ask="How good is the overall quality of the sound?", labels=QUALITY
    ),
    "rel": Question(
        name="rel",
        ask="How well does the sound match the text?",
        labels=("Not at all", "A little", "In part", "Mostly", "Fully"),
        text="caption",
    ),
    "mos": Question(
        name="mos", ask="How natural is the speech?", labels=QUALITY, text="transcript"
    ),
}


def questions_named(names: str) -> tuple[Question, ...]:
    """Those of a list with commas, in its order.

    Raises:
        ValueError: one that is not known, or one twice, or none.
    """
    wanted = [name.strip().lower() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in QUESTIONS]
    if unknown or not wanted or len(set(wanted)) < len(wanted):
        raise ValueError(
            f"the questions are {names!r}; expected are some of {', '.join(QUESTIONS)}, each once, with commas"
        )
    return tuple(QUESTIONS[name] for name in wanted)


def bounds(scale: Scale) -> tuple[int, int]:
    """The lowest and the highest answer."""
    return (1, 5) if scale == 5 else (0, 100)
