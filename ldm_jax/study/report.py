"""A study's table as Markdown and JSON, and what it says in words."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from ldm_jax.diffusion import bands
from ldm_jax.study.statistics import Difference, Interval
from ldm_jax.study.table import Quantity, Setting, Table

SPOKEN_OF = (25, 1)  # steps of the students that the summary is about


def spoken_of(settings: Iterable[Setting]) -> list[Setting]:
    """Those with 25 steps and with one; of a method that has neither, the one with the fewest."""
    by_method: dict[str, list[Setting]] = {}
    for setting in settings:
        by_method.setdefault(setting.method, []).append(setting)
    return [
        setting
        for own in by_method.values()
        for setting in [one for one in own if one.steps in SPOKEN_OF] or [min(own)]
    ]


def summary(table: Table) -> list[str]:
    """A sentence for each quantity at 25 steps and at one: which weighting is best, and whether that is noise."""
    return [
        _sentence(table, setting, quantity)
        for quantity in table.quantities
        if quantity.primary
        for setting in spoken_of(table.settings(quantity))
    ]


def _sentence(table: Table, setting: Setting, quantity: Quantity) -> str:
    means = table.intervals(setting, quantity.name)
    apart = table.differences(setting, quantity.name)
    best, reference = table.best(setting, quantity), table.reference
    superlative = "highest" if quantity.higher else "lowest"
    said = f"{setting}: the {superlative} {quantity.label} is that of {best}, {_number(means[best].mean)}"
    if not apart:
        return said + "."
    order = sorted(apart, key=lambda name: means[name].mean, reverse=quantity.higher)
    if best == reference:
        told = f"the next is {order[0]}, {_number(means[order[0]].mean)}"
    else:
        told = f"{reference} has {_number(means[reference].mean)}"
    one = apart[order[0]]
    noise = "more than noise" if one.certain else "no more than noise"
    others = sum(one.certain for one in apart.values())
    return (
        f"{said}; {told}, and the difference, {_signed(one)}, is {noise} (p = {one.p:.2g}). "
        f"{others} of {len(apart)} differ from {reference} by more than noise."
    )


def markdown(table: Table, *, title: str, notes: Sequence[str] = ()) -> str:
    """Everything for a reader: sentences, then a table a quantity, differences, errors by band."""
    blocks = [f"# {title}", *notes, "\n".join(f"* {one}" for one in summary(table))]
    for quantity in table.quantities:
        direction = "more" if quantity.higher else "less"
        blocks += [
            f"## {quantity.label}",
            f"{_said(table, quantity)}; {direction} is better, the best is bold. \\*: differs from "
            f"{table.reference} by more than noise ({_tested(quantity)}, Holm, p < 0.05).",
            _values(table, quantity),
            f"Difference from {table.reference}, {'clip by clip' if quantity.over_clips else 'seed by seed'}, with its "
            "95 % interval:",
            _differences(table, quantity),
        ]
    for setting in spoken_of(table.errors):
        if bands_of(table, setting).sum() > 1:
            blocks += [
                f"## Error of x0 by log SNR: {setting}",
                "Mean squared error of a number, without weights, in bands of log SNR; noise to the left.",
                _errors(table, setting),
            ]
    return "\n\n".join(blocks) + "\n"


def as_json(table: Table) -> dict[str, Any]:
    """Everything for a program, with all digits."""
    settings = [
        {
            "method": setting.method,
            "steps": setting.steps,
            "quantities": {
                name: {
                    weighting: {
                        "seeds": [float(np.mean(x)) for x in seeds],
                        **table.intervals(setting, name)[weighting]._asdict(),
                        **_apart(table, setting, name, weighting),
                    }
                    for weighting, seeds in values.items()
                }
                for name, values in found.items()
            },
            "errors": {name: _plain(x) for name, x in table.errors[setting].items()},
        }
        for setting, found in table.values.items()
    ]
    others = {
        row: [
            {"steps": at.steps, **{name: [float(x) for x in xs] for name, xs in known.items()}}
            for at, known in found.items()
        ]
        for row, found in table.others.items()
    }
    return {
        "reference": table.reference,
        "summary": summary(table),
        "bands": list(bands.labels()),
        "settings": settings,
        "others": others,
    }


def _said(table: Table, quantity: Quantity) -> str:
    """What a number of the table is, and its interval."""
    bounded = any(quantity.name in table.bounds[one] for one in table.settings(quantity))
    over = "clips" if quantity.over_clips or bounded else "seeds"
    return f"Mean over seeds ± half the 95 % interval over {over}"


def _tested(quantity: Quantity) -> str:
    if quantity.over_clips:
        return "paired t-test over clips, the same sign in every seed"
    return "paired t-test over seeds"


def bands_of(table: Table, setting: Setting) -> Bool[np.ndarray, " bands"]:
    """In which bands there are errors of every weighting and seed."""
    rows = np.concatenate(list(table.errors[setting].values()))
    return np.asarray(~np.isnan(rows).any(axis=0))


def _apart(table: Table, setting: Setting, name: str, weighting: str) -> dict[str, Any]:
    found = table.differences(setting, name).get(weighting)
    return {"difference": found._asdict()} if found else {}


def _values(table: Table, quantity: Quantity) -> str:
    settings = table.settings(quantity)
    rows = []
    for weighting in table.values[settings[0]][quantity.name]:
        cells = []
        for setting in settings:
            text = _spread(table.intervals(setting, quantity.name)[weighting])
            apart = table.differences(setting, quantity.name).get(weighting)
            text = f"**{text}**" if weighting == table.best(setting, quantity) else text
            cells.append(text + ("\\*" if apart is not None and apart.certain else ""))
        rows.append([weighting, *cells])
    for row, found in table.others.items():
        cells = ["" for _ in settings]
        label = row
        for at, known in found.items():
            if quantity.name not in known:
                continue
            text = _number(float(known[quantity.name].mean()))
            if at in settings:
                cells[settings.index(at)] = text
            else:
                label += f", {at.steps} steps: {text}" if at.steps else f": {text}"
        rows.append([f"*{label}*", *cells])
    return _grid(["weighting", *map(str, settings)], rows)


def _differences(table: Table, quantity: Quantity) -> str:
    settings = table.settings(quantity)
    apart = [table.differences(setting, quantity.name) for setting in settings]
    rows = [[name, *(_signed(one[name]) for one in apart)] for name in apart[0]]
    return _grid(["weighting", *map(str, settings)], rows)


def _errors(table: Table, setting: Setting) -> str:
    found = {name: rows.mean(axis=0) for name, rows in table.errors[setting].items()}
    there = bands_of(table, setting)
    names = [label for label, known in zip(bands.labels(), there, strict=True) if known]
    rows = [[name, *(_number(x) for x in means[there])] for name, means in found.items()]
    return _grid(["weighting", *names], rows)


def _grid(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---", *("---:" for _ in heading[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _spread(one: Interval) -> str:
    return f"{_number(one.mean)} ± {_number((one.high - one.low) / 2, 2)}"


def _signed(one: Difference) -> str:
    mean, low, high = (f"{x:+.2g}" for x in (one.mean, one.low, one.high))
    return f"{mean} ({low} to {high})"


def _number(value: float, digits: int = 3) -> str:
    return f"{value:#.{digits}g}".rstrip(".")


def _plain(errors: Any) -> list[list[float | None]]:
    return [[None if np.isnan(x) else float(x) for x in row] for row in errors]
