"""A study's pictures: quality against steps, error against log SNR, the weightings themselves."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ldm_jax.diffusion import bands, schedules
from ldm_jax.diffusion.objective import Objective
from ldm_jax.diffusion.weightings import Weighting, weighting
from ldm_jax.study.report import bands_of, spoken_of
from ldm_jax.study.statistics import Interval, interval
from ldm_jax.study.table import Quantity, Setting, Table
from ldm_jax.train import draw_weightings

# Okabe and Ito's without yellow; the reference is black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", "--", ":")


def quality(table: Table) -> Any:
    """A column a quantity and method: means over steps, and how far each weighting is from the reference.

    Bands and bars are 95 % intervals over seeds. Below, differences are seed by seed, at 25 steps and at one; where a
    quantity was measured at one number of steps alone, so are the means above.
    """
    columns = [
        (quantity, method, [one for one in table.settings(quantity) if one.method == method])
        for quantity in table.quantities
        if quantity.primary
        for method in dict.fromkeys(one.method for one in table.settings(quantity))
    ]
    figure, axes = _panels(2, len(columns))
    for (quantity, method, settings), (above, below) in zip(columns, axes.T, strict=True):
        if len(settings) > 1:
            _curves(above, table, sorted(settings), quantity)
        else:
            means = {settings[0]: table.intervals(settings[0], quantity.name)}
            _rows(above, table, means, scale="log")
        apart = {
            one: {
                name: Interval(*x[:3]) for name, x in table.differences(one, quantity.name).items()
            }
            for one in spoken_of(settings)
        }
        _rows(below, table, apart, scale="symlog")
        below.axvline(0, color="black", lw=1)
        below.set_xlabel(f"minus {table.reference}'s")
        above.set_title(f"{quantity.label}, {method}", fontsize=10, loc="left")
    _legend(figure, axes[0])
    return figure


def errors(table: Table) -> Any:
    """A panel a setting of the summary: mean squared error of x0 in bands of log SNR, over the reference's."""
    settings = [one for one in spoken_of(table.errors) if bands_of(table, one).sum() > 1]
    figure, axes = _panels(2, max(len(settings), 1))
    names = bands.labels()
    for setting, (above, below) in zip(settings, axes.T, strict=False):
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
    _legend(figure, axes[0])
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


def _curves(axis: Any, table: Table, settings: list[Setting], quantity: Quantity) -> None:
    """Means over steps; in grey, what students are held against."""
    found = [table.intervals(setting, quantity.name) for setting in settings]
    steps = np.array([setting.steps for setting in settings])
    for number, (row, at) in enumerate(table.others.items()):
        known = {
            one.steps: xs[quantity.name].mean() for one, xs in at.items() if quantity.name in xs
        }
        there = [step for step in steps if step in known]
        if there and settings[0].method == "progressive":
            means = [known[step] for step in there]
            axis.plot(there, means, color="0.55", ls=STYLES[number % 3], lw=1, label=row)
        elif known.get(0):
            axis.axhline(known[0], color="0.8", lw=1, zorder=0)
            axis.annotate(row, (steps[0], known[0]), fontsize=7, color="0.5", va="bottom")
    for name, style in _styles(table, found[0]):
        _line(axis, steps, [one[name] for one in found], name, style)
    if all(one.mean > 0 for group in found for one in group.values()):
        axis.set_yscale("log")
    axis.set_xscale("log")
    axis.xaxis.minorticks_off()  # on y they are the labels where means span less than a decade
    axis.set_xticks(steps, [str(step) for step in steps])
    axis.set_xlabel("steps")


def _rows(
    axis: Any, table: Table, found: dict[Setting, dict[str, Interval]], *, scale: str
) -> None:
    """A row a weighting with a point and its interval for each setting."""
    names = [name for name, _ in _styles(table, next(iter(found.values())))]
    for number, (setting, intervals) in enumerate(found.items()):
        place = np.arange(len(names)) + 0.3 * (number - (len(found) - 1) / 2)
        mean, low, high = np.array([intervals[name] for name in names]).T
        colour = COLOURS[number % 6]
        steps = f"{setting.steps} step{'s' * (setting.steps != 1)}"
        axis.hlines(place, low, high, color=colour, lw=1.5)
        axis.plot(mean, place, "o", color=colour, ms=3.5, label=steps)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.set_ylim(len(names) - 0.4, -0.6)
    if scale == "symlog":
        sizes = np.abs([x.mean for one in found.values() for x in one.values()])
        threshold = (
            10 ** np.ceil(np.log10(np.percentile(sizes[sizes > 0], 25))) if sizes.any() else 1.0
        )
        axis.set_xscale("symlog", linthresh=threshold)
    elif all(x.low > 0 for one in found.values() for x in one.values()):
        axis.set_xscale("log")
    if len(found) > 1:
        axis.legend(frameon=False, fontsize=7, loc="upper right")


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
    """The reference last, if it is there, and thick, so that it lies above the others."""
    others = [name for name in names if name != table.reference]
    found: list[tuple[str, dict[str, Any]]] = [
        (name, {"color": COLOURS[i % 6], "ls": STYLES[i // 6 % 3], "lw": 1.2})
        for i, name in enumerate(others)
    ]
    reference = (table.reference, {"color": "black", "ls": "-", "lw": 2.0})
    return [*found, reference] if table.reference in names else found


def _panels(rows: int, columns: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(4.2 * columns + 1.5, 3.2 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        axis.grid(color="0.93")
    return figure, axes


def _legend(figure: Any, axes: Any) -> None:
    """Of the first panel that has curves."""
    known = (axis.get_legend_handles_labels() for axis in axes)
    lines, names = max(known, key=lambda one: len(one[1]))
    figure.legend(lines, names, loc="outside right center", frameon=False, fontsize=8)
