"""A study's pictures: quality against steps, error against log SNR, the weightings themselves."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ldm_jax.diffusion import bands, schedules
from ldm_jax.diffusion.objective import Objective
from ldm_jax.diffusion.weightings import Weighting, weighting
from ldm_jax.study.report import SPOKEN_OF, bands_of
from ldm_jax.study.statistics import Interval, interval
from ldm_jax.study.table import Quantity, Setting, Table
from ldm_jax.train import draw_weightings

# Okabe and Ito's without yellow; the reference is black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", "--", ":")


def quality(table: Table) -> Any:
    """A panel a method and quantity: means with their intervals over steps; below, differences from the reference."""
    methods = list(dict.fromkeys(setting.method for setting in table.values))
    columns = [
        (method, quantity)
        for quantity in table.quantities
        if quantity.primary
        for method in methods
        if any(one.method == method for one in table.settings(quantity))
    ]
    figure, axes = _panels(2, len(columns))
    for (method, quantity), (above, below) in zip(columns, axes.T, strict=True):
        settings = sorted(one for one in table.settings(quantity) if one.method == method)
        steps = [one.steps for one in settings]
        _means(above, table, settings, quantity)
        _apart(below, table, settings, quantity)
        for axis in (above, below):
            axis.set_xscale("log")
            axis.minorticks_off()
            axis.set_xticks(steps, [str(step) for step in steps])
        above.set_title(f"{quantity.label}, {method}", fontsize=10, loc="left")
        below.set_xlabel("steps")
    axes[0, 0].set_ylabel("mean over seeds")
    axes[1, 0].set_ylabel(f"minus {table.reference}")
    _legend(figure, axes[0, 0])
    return figure


def errors(table: Table) -> Any:
    """A panel a setting of the summary: mean squared error of x0 in bands of log SNR, over the reference's."""
    settings = [
        one for one in table.errors if one.steps in SPOKEN_OF and bands_of(table, one).sum() > 1
    ]
    figure, axes = _panels(2, max(len(settings), 1))
    names = bands.labels()
    for setting, (above, below) in zip(settings, axes.T, strict=True):
        found = table.errors[setting]
        for weighting_, style in _styles(table, found):
            own = found[weighting_]
            for axis, rows in ((above, own), (below, own / found[table.reference])):
                _line(axis, np.arange(len(names)), _over_seeds(rows), weighting_, style)
        above.set_title(str(setting), fontsize=10, loc="left")
        for axis in (above, below):
            axis.set_yscale("log")
            axis.set_xticks(range(len(names)), names, fontsize=7)
        below.set_xlabel("log SNR (noise to the left)")
    axes[0, 0].set_ylabel("mean squared error of x0")
    axes[1, 0].set_ylabel(f"over {table.reference}'s")
    _legend(figure, axes[0, 0])
    return figure


def curves(found: Mapping[str, str | Weighting], schedule: str) -> Any:
    """The weightings on v and their effective densities; see `train.draw_weightings`."""
    laid = schedules.schedule(schedule)
    return draw_weightings.figure(
        {
            name: Objective(schedule=laid, prediction="v", weighting=weighting(one))
            for name, one in found.items()
        }
    )


def _means(axis: Any, table: Table, settings: list[Setting], quantity: Quantity) -> None:
    found = [table.intervals(setting, quantity.name) for setting in settings]
    steps = np.array([setting.steps for setting in settings])
    for name, style in _styles(table, found[0]):
        _line(axis, steps, [one[name] for one in found], name, style)
    for number, (row, at) in enumerate(table.others.items()):
        known = {
            one.steps: xs[quantity.name].mean() for one, xs in at.items() if quantity.name in xs
        }
        there = [step for step in steps if step in known]
        if there and settings[0].method == "progressive":
            axis.plot(there, [known[step] for step in there], color="0.6", ls=STYLES[number % 3])
            axis.annotate(row, (there[-1], known[there[-1]]), fontsize=7, color="0.5", ha="right")
        elif 0 in known:
            axis.axhline(known[0], color="0.8", lw=1, zorder=0)
            axis.annotate(row, (steps[0], known[0]), fontsize=7, color="0.5", va="bottom")
    if all(one.mean > 0 for group in found for one in group.values()):
        axis.set_yscale("log")


def _apart(axis: Any, table: Table, settings: list[Setting], quantity: Quantity) -> None:
    found = [table.differences(setting, quantity.name) for setting in settings]
    steps = np.array([setting.steps for setting in settings])
    for name, style in _styles(table, table.values[settings[0]][quantity.name]):
        if name == table.reference:
            axis.axhline(0, color="black", lw=1)
            continue
        points = [Interval(*one[name][:3]) for one in found]
        _line(axis, steps, points, name, style)
    axis.set_yscale("symlog", linthresh=1e-3)


def _over_seeds(rows: Any) -> list[Interval]:
    """Geometric means over seeds, with their intervals."""
    with np.errstate(divide="ignore"):
        logs = np.log(rows)
    return [Interval(*np.exp(interval(column))) for column in logs.T]


def _line(axis: Any, x: Any, points: list[Interval], name: str, style: dict[str, Any]) -> None:
    mean, low, high = np.array(points).T
    there = ~np.isnan(mean)
    axis.plot(x[there], mean[there], label=name, marker=".", **style)
    axis.fill_between(x[there], low[there], high[there], color=style["color"], alpha=0.1, lw=0)


def _styles(table: Table, names: Any) -> list[tuple[str, dict[str, Any]]]:
    """The reference last, and thick, so that it lies above the others."""
    others = [name for name in names if name != table.reference]
    found = [
        (name, {"color": COLOURS[i % 6], "ls": STYLES[i // 6 % 3], "lw": 1.2})
        for i, name in enumerate(others)
    ]
    return [*found, (table.reference, {"color": "black", "ls": "-", "lw": 2.0})]


def _panels(rows: int, columns: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(4.2 * columns + 1.5, 3.2 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        axis.grid(color="0.93")
    return figure, axes


def _legend(figure: Any, axis: Any) -> None:
    lines, names = axis.get_legend_handles_labels()
    figure.legend(lines, names, loc="outside right center", frameon=False, fontsize=8)
