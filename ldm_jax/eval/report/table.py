"""A report on the screen."""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ldm_jax.eval.report.numbers import (
    interval_text,
    number_text,
    padded,
    shortened,
    shown_width,
    value_text,
)
from ldm_jax.eval.report.record import Figure, Problem, Report, Side

ARROWS = {"lower": "↓", "higher": "↑"}
_WORDS = {"↓": "(lower is better)", "↑": "(higher is better)", "…": "...", "‖": "||"}
_FILES = 5  # named on the screen; JSON has all


def table(report: Report, *, width: int | None = None, unicode: bool | None = None) -> str:
    """The figures with their intervals, the networks they came through, and what was left out.

    Args:
        report: what to show.
        width: columns; None is the terminal's.
        unicode: whether arrows and the like may be used; None is what the terminal's encoding knows.
    """
    width = terminal_width() if width is None else width
    sign = signs(unicode)
    lines = [*_head(report), "", *_figures(report.figures, width, sign)]
    if report.skipped:
        lines += ["", "Not computed:"]
        lines += [f"  {name}: {why}" for name, why in report.skipped.items()]
    if report.backbones:
        lines += ["", "Networks:"]
        for name, known in report.backbones.items():
            other = ", not the published file" if known.get("published") == "no" else ""
            digest = known.get("sha256", "")[:12]
            lines.append(f"  {name}: {known.get('source', '')}, SHA-256 {digest}{other}")
    lines += _problems([one for one in report.problems if one.dropped], "left out", width)
    lines += _problems([one for one in report.problems if not one.dropped], "to be noted", width)
    return "\n".join(map(sign, lines))


def terminal_width() -> int:
    """Columns of the terminal, 100 where there is none."""
    return max(40, shutil.get_terminal_size((100, 24)).columns)


def signs(unicode: bool | None) -> Callable[[str], str]:
    """What makes a text fit for the terminal: words for the arrows, and "?" for characters that it does not know.

    Args:
        unicode: False takes ASCII, True leaves the text; None is what the terminal's encoding knows.
    """
    encoding = "utf-8" if unicode else "ascii"
    if unicode is None:
        encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        "".join(_WORDS).encode(encoding)
        words = {}
    except UnicodeEncodeError:
        words = _WORDS

    def fit(text: str) -> str:
        for mark, word in words.items():
            text = text.replace(mark, word)
        return text.encode(encoding, "replace").decode(encoding)

    return fit


def grid(rows: Sequence[Sequence[str]], *, left: int = 1, gap: int = 2) -> list[str]:
    """Rows of cells as lines, columns aligned: the first `left` to the left, the others to the right."""
    widths = [max(shown_width(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        (" " * gap)
        .join(padded(cell, widths[i], right=i >= left) for i, cell in enumerate(row))
        .rstrip()
        for row in rows
    ]


def settings_text(settings: Mapping[str, Any]) -> str:
    """Names and values as a person reads them: "backbone cnn14_16k, eps 1e-06"."""
    return ", ".join(f"{name} {_value(value)}" for name, value in settings.items())


def generation_text(generation: Mapping[str, Any]) -> str:
    """Those settings of clips that were given."""
    given = {key: value for key, value in generation.items() if value not in (None, "")}
    return settings_text(given)


def side_text(side: Side, noun: str) -> str:
    """How many, how long, where from: "975 clips, 9,750.0 s, of FOLDER"."""
    return f"{side.clips:,} {noun}, {side.seconds:,.1f} s, of {side.source}"


def _head(report: Report) -> list[str]:
    lines = [
        f"{report.system} by the rules of {report.preset}",
        side_text(report.generated, "clips"),
    ]
    if report.reference is not None:
        lines.append("against " + side_text(report.reference, "references"))
    if report.generation:
        lines.append("drawn with " + generation_text(report.generation))
    return lines


def _figures(figures: Sequence[Figure], width: int, sign: Callable[[str], str]) -> list[str]:
    if not figures:
        return ["no figure was computed"]
    rows = [["", "value", "95 % interval", "clips"]]
    for one in figures:
        estimate = one.estimate
        rows.append(
            [
                sign(f"{one.label} {ARROWS[one.better]}"),
                value_text(estimate),
                interval_text(estimate),
                f"{estimate.clips:,}",
            ]
        )
    if not any(row[2] for row in rows[1:]):
        rows = [[*row[:2], row[3]] for row in rows]
    lines = grid(rows)
    notes = ["", *(sign(_note(one)) for one in figures)]
    room = width - max(map(shown_width, lines)) - 3
    if room < 20:
        return lines
    whole = max(map(shown_width, lines))
    return [
        f"{padded(line, whole)}   {shortened(note, room)}".rstrip()
        for line, note in zip(lines, notes, strict=True)
    ]


def _note(figure: Figure) -> str:
    """What belongs to a figure: further numbers, and what was compared by what."""
    details = [f"{name} {number_text(x)}" for name, x in figure.estimate.details.items()]
    told = [str(figure.settings[key]) for key in ("backbone", "loading") if key in figure.settings]
    return "; ".join(part for part in (", ".join(details), ", ".join(told)) if part)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple | list):
        return " and ".join(map(_value, value))
    return str(value)


def _problems(problems: Sequence[Problem], what: str, width: int) -> list[str]:
    if not problems:
        return []
    lines = ["", f"{len(problems):,} {what}:"]
    lines += [shortened(f"  {one.file}: {one.why}", width) for one in problems[:_FILES]]
    if len(problems) > _FILES:
        lines.append(f"  … and {len(problems) - _FILES:,} more, all in the JSON report")
    return lines
