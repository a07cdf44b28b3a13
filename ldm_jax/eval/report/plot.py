"""Reports as a picture: systems side by side, or figures over the steps that clips were drawn with."""

import math
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ldm_jax.audio.files import whole_file
from ldm_jax.eval.metrics.estimate import Estimate
from ldm_jax.eval.report.compare import Column, columns
from ldm_jax.eval.report.numbers import value_text
from ldm_jax.eval.report.record import Report
from ldm_jax.eval.report.table import settings_text

# Okabe and Ito's, which people tell apart whose eyes know fewer colours; yellow is too light for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
ACROSS = 3  # panels
BANDS = 2  # series whose intervals may lie over each other and still be told apart
# What a figure may be drawn over, the first that differs; and whether by ratios.
AXES = {"steps": True, "guidance_scale": False, "seconds": False, "candidates": True}
_IGNORED = ("checkpoint", "negative_prompt")


def plot(path: pathlib.Path, reports: Sequence[Report]) -> None:
    """A PNG: curves where reports differ in the steps, guidance scale or the like of their clips, else systems.

    Raises:
        ValueError: no report, or none with a figure that is a number.
        OSError: the place cannot be written.
    """
    made = [column for column in columns(reports) if _finite(column)]
    if not made:
        raise ValueError("there is no figure to draw")
    axis = sweep_axis(reports)
    draw = _draw_systems if axis is None else _draw_curves
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = draw(made, reports, axis or "")
        with whole_file(path) as temporary:
            figure.savefig(temporary, dpi=150, format="png")


def sweep_axis(reports: Sequence[Report]) -> str | None:
    """The setting that reports differ in and that makes a curve: a number with several values for the same rest."""
    for name in AXES:
        groups = _series(reports, name)
        if any(
            len({reports[i].generation[name] for i in places}) > 1 for places in groups.values()
        ):
            return name
    return None


def _series(reports: Sequence[Report], axis: str) -> dict[str, list[int]]:
    """Places of reports that differ in nothing but the axis, by what the others differ in."""
    places = [
        i
        for i, report in enumerate(reports)
        if isinstance(report.generation.get(axis), int | float)
    ]
    known = [
        {key: value for key, value in reports[i].generation.items() if key not in (axis, *_IGNORED)}
        for i in places
    ]
    differing = [
        key
        for key in dict.fromkeys(key for one in known for key in one)
        if len({repr(one.get(key)) for one in known}) > 1
    ]
    groups: dict[str, list[int]] = {}
    for i, one in zip(places, known, strict=True):
        groups.setdefault(_called(one, differing), []).append(i)
    return groups


def _called(settings: Mapping[str, Any], differing: Sequence[str]) -> str:
    words = {"sampler": "", "guidance_scale": "guidance "}
    return ", ".join(
        words[key] + f"{settings.get(key)}"
        if key in words
        else settings_text({key: settings.get(key)})
        for key in differing
    )


def _finite(column: Column) -> bool:
    return any(one and math.isfinite(one.estimate.value) for one in column.figures)


def _draw_systems(made: Sequence[Column], reports: Sequence[Report], _: str) -> Any:
    """A row a system, its value as a point with its interval; a panel a figure."""
    across = min(ACROSS, len(made))
    down = -(-len(made) // across)
    tall = 0.9 + 0.38 * len(reports)
    figure, panels = _panels(made, across, (3.1 * across + 1.4, tall * down + 0.2))
    for place, (column, axes) in enumerate(zip(made, panels, strict=True)):
        for row, one in enumerate(column.figures):
            if one is None or not math.isfinite(one.estimate.value):
                continue
            estimate = one.estimate
            if estimate.low is not None and estimate.high is not None:
                axes.plot([estimate.low, estimate.high], [row, row], color=COLOURS[0], lw=2)
            axes.plot(
                [estimate.value], [row], "o", color=COLOURS[0], ms=6,
                mfc=COLOURS[0] if row in column.best else "white",
            )  # fmt: skip
            axes.annotate(
                value_text(estimate), (estimate.value, row), (0, 5), textcoords="offset points",
                ha="center", va="bottom", fontsize=8,
                fontweight="bold" if row in column.best and len(reports) > 1 else "normal",
            )  # fmt: skip
        axes.set_ylim(len(reports) - 0.5, -0.7)
        names = [_text(report.system) for report in reports] if place % across == 0 else []
        axes.set_yticks(range(len(reports)), names or [""] * len(reports))
        axes.margins(x=0.18)
        axes.locator_params(axis="x", nbins=4)
        axes.grid(axis="x", color="0.9")
        axes.tick_params(axis="y", length=0)
    _explain(figure, made, "lines")
    return figure


def _explain(figure: Any, made: Sequence[Column], what: str) -> None:
    estimates = [one.estimate for column in made for one in column.figures if one]
    if any(estimate.low is not None for estimate in estimates):
        figure.supxlabel(f"{what}: 95 % bootstrap intervals over clips", fontsize=8, color="0.4")


def _draw_curves(made: Sequence[Column], reports: Sequence[Report], axis: str) -> Any:
    """A line a series over the axis, with intervals; a panel a figure."""
    across = min(ACROSS, len(made))
    groups = _series(reports, axis)
    figure, panels = _panels(
        made, across, (3.6 * across + 0.4, 2.9 * -(-len(made) // across) + 0.5)
    )
    for column, axes in zip(made, panels, strict=True):
        for number, (name, places) in enumerate(groups.items()):
            points = sorted(
                (reports[i].generation[axis], one.estimate)
                for i in places
                if (one := column.figures[i]) is not None and math.isfinite(one.estimate.value)
            )
            bands = len(groups) <= BANDS
            shift = 0.0 if bands or not AXES[axis] else number - (len(groups) - 1) / 2
            points = [(at * (1 + 0.012 * shift), one) for at, one in points]
            _draw_curve(axes, points, _text(name), number, bands)
        ticks = sorted({reports[i].generation[axis] for places in groups.values() for i in places})
        if AXES[axis] and min(ticks) > 0:
            axes.set_xscale("log")
            axes.minorticks_off()
        shown = ticks if len(ticks) <= 8 else ticks[:: -(-len(ticks) // 8)]
        axes.set_xticks(shown, [f"{tick:g}" for tick in shown])
        axes.set_xlabel(axis.replace("_", " "))
        axes.grid(color="0.9")
    _explain(figure, made, "bands" if len(groups) <= BANDS else "bars")
    if len(groups) > 1:
        lines, names = panels[0].get_legend_handles_labels()
        figure.legend(
            lines, names, loc="outside upper center", ncols=min(4, len(groups)), frameon=False
        )
    return figure


def _draw_curve(
    axes: Any, points: Sequence[tuple[float, Estimate]], name: str, number: int, bands: bool
) -> None:
    """One series. Few have bands; of many, bars that stand a little beside each other."""
    colour = COLOURS[number % len(COLOURS)]
    style = ("-", "--", ":")[number // len(COLOURS) % 3]
    marker = MARKERS[number % len(MARKERS)]
    x, y = [at for at, _ in points], [one.value for _, one in points]
    axes.plot(x, y, style, marker=marker, color=colour, ms=4.5, label=name)
    bounded = [
        (at, one.low, one.high)
        for at, one in points
        if one.low is not None and one.high is not None
    ]
    if not bounded:
        return
    at, low, high = zip(*bounded, strict=True)
    if bands:
        axes.fill_between(at, low, high, color=colour, alpha=0.15, lw=0)
    else:
        axes.vlines(at, low, high, color=colour, lw=1)


def _panels(
    made: Sequence[Column], across: int, size: tuple[float, float]
) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure  # slow to import, seldom wanted

    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(-(-len(made) // across), across, squeeze=False)
    panels = list(grid.flat)
    for spare in panels[len(made) :]:
        spare.remove()
    for column, axes in zip(made, panels, strict=False):
        axes.set_title(_text(column.heading), fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure, panels[: len(made)]


def _text(text: str) -> str:
    """Without formulas, which two dollars would make."""
    return text.replace("$", r"\$")
