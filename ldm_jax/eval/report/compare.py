"""Several reports side by side, and whether they may be compared."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

from ldm_jax.eval.report.files import escaped, facts
from ldm_jax.eval.report.numbers import interval_text, shown_width, value_text
from ldm_jax.eval.report.record import Figure, Report, Side
from ldm_jax.eval.report.table import (
    ARROWS,
    grid,
    settings_text,
    side_text,
    signs,
    terminal_width,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """One figure of several systems.

    Attributes:
        name: of the figure.
        heading: its label, with an arrow towards the better; its name where labels are alike.
        figures: one a report; None where it has none.
        best: places in `figures` of the best value.
    """

    name: str
    heading: str
    figures: tuple[Figure | None, ...]
    best: frozenset[int]


def columns(reports: Sequence[Report]) -> tuple[Column, ...]:
    """Every figure that a report has, in the order in which they come up."""
    found: dict[str, dict[int, Figure]] = {}
    for place, report in enumerate(reports):
        for figure in report.figures:
            found.setdefault(figure.name, {})[place] = figure
    firsts = {name: next(iter(figures.values())) for name, figures in found.items()}
    labels = [figure.label for figure in firsts.values()]
    made = []
    for name, figures in found.items():
        first = firsts[name]
        heading = first.label if labels.count(first.label) == 1 else name
        made.append(
            Column(
                name=name,
                heading=f"{heading} {ARROWS[first.better]}",
                figures=tuple(figures.get(place) for place in range(len(reports))),
                best=_best(figures, first.better),
            )
        )
    return tuple(made)


def differences(reports: Sequence[Report]) -> tuple[str, ...]:
    """Why the figures of these reports may not be comparable, a sentence for each reason."""
    said = [_differ("the presets differ", reports, lambda report: report.preset)]
    for name in sorted({name for report in reports for name in report.backbones}):
        said.append(
            _differ(f"the weights of {name} differ", reports, lambda r, n=name: _weights(r, n))
        )
    said.append(
        _differ(
            "the numbers of clips differ, on which distances between sets depend",
            reports,
            lambda report: f"{report.generated.clips:,}",
        )
    )
    lengths = [_reference(report.reference, place=False) for report in reports]
    what = "the references are as many and as long, but not from the same place"
    if len(set(lengths)) > 1:
        what = "the references differ"
    said.append(_differ(what, reports, lambda report: _reference(report.reference, place=True)))
    for column in columns(reports):
        said += _of_figure(column, reports)
    return tuple(sentence for sentence in said if sentence)


def compare_table(
    reports: Sequence[Report], *, width: int | None = None, unicode: bool | None = None
) -> str:
    """A row a system and a column a figure, for the screen; "*" is the best of a column.

    Figures that find no room beside each other stand below. Intervals have columns of their own.

    Args:
        reports: of the systems.
        width: columns; None is the terminal's.
        unicode: whether arrows may be used; None is what the terminal's encoding knows.
    """
    width = terminal_width() if width is None else width
    sign = signs(unicode)
    names = ["", *(sign(report.system) for report in reports)]
    blocks, room = [[names]], width - max(map(shown_width, names))
    for column in columns(reports):
        values, intervals = [sign(column.heading)], ["95 % interval"]
        for place, figure in enumerate(column.figures):
            star = "*" if place in column.best and len(reports) > 1 else " "
            values.append("" if figure is None else value_text(figure.estimate) + star)
            intervals.append("" if figure is None else interval_text(figure.estimate))
        added = [values, intervals] if any(intervals[1:]) else [values]
        need = sum(2 + max(map(shown_width, cells)) for cells in added)
        if need > room and len(blocks[-1]) > 1:
            blocks.append([names])
            room = width - max(map(shown_width, names))
        blocks[-1] += added
        room -= need
    parts = ["\n".join(grid(list(zip(*block, strict=True)))) for block in blocks]
    if notes := [sign(f"Note: {sentence}.") for sentence in differences(reports)]:
        parts.append("\n".join(notes))
    return "\n\n".join(parts)


def compare_markdown(reports: Sequence[Report]) -> str:
    """A row a system and a column a figure, the best in bold, intervals in brackets; notes and facts below."""
    made = columns(reports)
    lines = [
        "| system | " + " | ".join(escaped(column.heading) for column in made) + " |",
        "|---|" + "---:|" * len(made),
    ]
    for place, report in enumerate(reports):
        cells = [escaped(report.system)]
        for column in made:
            figure = column.figures[place]
            if figure is None:
                cells.append("")
                continue
            text = value_text(figure.estimate)
            text = f"**{text}**" if place in column.best and len(reports) > 1 else text
            interval = interval_text(figure.estimate)
            cells.append(f"{text} ({interval})" if interval else text)
        lines.append("| " + " | ".join(cells) + " |")
    notes = [f"* Note: {escaped(sentence)}." for sentence in differences(reports)]
    systems: dict[str, list[str]] = {}
    for report in reports:
        systems.setdefault(facts(report, brief=True), []).append(report.system)
    told = [f"* {escaped(_some(names))}: {text}" for text, names in systems.items()]
    return "\n".join([*lines, "", *notes, *told, ""])


def _best(figures: Mapping[int, Figure], better: str) -> frozenset[int]:
    values = {
        place: figure.estimate.value
        for place, figure in figures.items()
        if math.isfinite(figure.estimate.value)
    }
    if not values:
        return frozenset()
    best = (min if better == "lower" else max)(values.values())
    return frozenset(place for place, value in values.items() if value == best)


def _of_figure(column: Column, reports: Sequence[Report]) -> list[str]:
    """Reports whose figure of one name is another, or of another number of clips than the rest of the report."""
    having = {id(r): one for r, one in zip(reports, column.figures, strict=True) if one}
    some = [report for report in reports if id(report) in having]
    settings = [having[id(report)].settings for report in some]
    unlike = [
        key
        for key in dict.fromkeys(key for one in settings for key in one)
        if len({repr(one.get(key)) for one in settings}) > 1
    ]

    def told(report: Report) -> str:
        known = having[id(report)].settings
        return settings_text({key: known[key] for key in unlike if key in known}) or "nothing said"

    said = [_differ(f"{column.name} is not the same figure", some, told)]
    if len({report.generated.clips for report in some}) == 1:
        said.append(
            _differ(
                f"{column.name} is of different numbers of clips",
                some,
                lambda report: f"{having[id(report)].estimate.clips:,}",
            )
        )
    return said


def _differ(what: str, reports: Sequence[Report], value: Callable[[Report], str]) -> str:
    """WHAT and then each value with the systems that have it; "" where all have the same, or say nothing."""
    systems: dict[str, list[str]] = {}
    for report in reports:
        if text := value(report):
            systems.setdefault(text, []).append(report.system)
    if len(systems) < 2:
        return ""
    return f"{what}: " + ", ".join(f"{text} ({_some(names)})" for text, names in systems.items())


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _weights(report: Report, name: str) -> str:
    known = report.backbones.get(name)
    return "" if known is None else known.get("sha256", "")[:12] or "unknown"


def _reference(side: Side | None, *, place: bool) -> str:
    if side is None:
        return "none"
    if side.digest:  # then it is known what they hold, and the place does not matter
        return f"{side.clips:,} clips, SHA-256 {side.digest[:12]}"
    return side_text(side, "clips") if place else f"{side.clips} {side.seconds:.3f}"
