"""A study's numbers: what each weighting came to at each number of steps, and how that differs from the reference."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from ldm_jax.diffusion import bands
from ldm_jax.study.cells import Cell, Measured, Results
from ldm_jax.study.settings import Study, by_name
from ldm_jax.study.statistics import Difference, Interval, Values, differences, interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantity:
    """A figure that is measured of students.

    Attributes:
        name: in `Measured.figures`.
        label: in tables.
        higher: whether more of it is better.
        primary: whether summary and pictures are about it.
        over_clips: whether it is a mean of `Measured.clips`, so that clips are what varies, not seeds.
    """

    name: str
    label: str
    higher: bool = False
    primary: bool = True
    over_clips: bool = False


@dataclasses.dataclass(frozen=True, order=True)
class Setting:
    """How students are made and in how many steps their samples are drawn."""

    method: str
    steps: int

    def __str__(self) -> str:
        return f"{self.method}, {self.steps} step{'s' * (self.steps != 1)}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """All that was measured, by what it is compared over.

    Attributes:
        reference: the weighting that others are compared with.
        quantities: what was measured.
        values: by setting, quantity's name and weighting, one number a seed, or one a seed and clip; where every
            cell has one.
        bounds: where known, intervals over clips of the same, means over seeds.
        errors: by setting and weighting, mean squared errors of x0, a row a seed and a column a band of
            `bands.labels()`; nan where no level lies in a band.
        others: rows without a weighting, as "teacher", by setting and quantity's name.
    """

    reference: str
    quantities: tuple[Quantity, ...]
    values: Mapping[Setting, Mapping[str, Mapping[str, Values]]]
    bounds: Mapping[Setting, Mapping[str, Mapping[str, tuple[float, float]]]]
    errors: Mapping[Setting, Mapping[str, Float[np.ndarray, "seeds bands"]]]
    others: Mapping[str, Mapping[Setting, Mapping[str, Float[np.ndarray, " _"]]]]

    def settings(self, quantity: Quantity) -> list[Setting]:
        """Those in which it was measured, in the order of the study."""
        return [setting for setting, found in self.values.items() if quantity.name in found]

    def intervals(self, setting: Setting, quantity: str) -> dict[str, Interval]:
        """Means by weighting, with intervals over clips where there are such, else over seeds."""
        bounds = self.bounds[setting].get(quantity, {})
        return {
            name: Interval(float(x.mean()), *bounds[name]) if name in bounds else interval(x)
            for name, x in self.values[setting][quantity].items()
        }

    def differences(self, setting: Setting, quantity: str) -> dict[str, Difference]:
        """From the reference, by weighting."""
        return differences(self.values[setting][quantity], self.reference)

    def best(self, setting: Setting, quantity: Quantity) -> str:
        """The weighting with the best mean."""
        means = {name: x.mean for name, x in self.intervals(setting, quantity.name).items()}
        return (max if quantity.higher else min)(means, key=means.__getitem__)


def table_of(study: Study, results: Results, quantities: Sequence[Quantity]) -> Table:
    """The table of a study of which all cells are done."""
    weightings = tuple(by_name(study))
    values: dict[Setting, dict[str, dict[str, Values]]] = {}
    bounds: dict[Setting, dict[str, dict[str, tuple[float, float]]]] = {}
    errors: dict[Setting, dict[str, Any]] = {}
    for method in study.methods:
        for name in weightings:
            for setting, found in _by_setting(results, method, name, study.seeds):
                values.setdefault(setting, {})
                bounds.setdefault(setting, {})
                for one in quantities:
                    if not all(one.name in seed.figures for seed in found):
                        continue
                    values[setting].setdefault(one.name, {})[name] = _values(found, one)
                    if all(one.name in seed.bounds for seed in found):
                        rows = np.array([seed.bounds[one.name] for seed in found])
                        low, high = map(float, rows.mean(axis=0))
                        bounds[setting].setdefault(one.name, {})[name] = (low, high)
                errors.setdefault(setting, {})[name] = np.array([_banded(seed) for seed in found])
    whole = {
        setting: {name: of for name, of in found.items() if len(of) == len(weightings)}
        for setting, found in values.items()
    }
    there = {name for found in whole.values() for name in found}
    return Table(
        reference=study.reference,
        quantities=tuple(one for one in quantities if one.name in there),
        values=whole,
        bounds=bounds,
        errors=errors,
        others=_others(study, results, quantities),
    )


def _by_setting(
    results: Results, method: str, weighting: str, seeds: int
) -> Iterator[tuple[Setting, list[Measured]]]:
    cells = [results[Cell(method, weighting, seed)] for seed in range(seeds)]
    for found in zip(*cells, strict=True):
        yield Setting(method, found[0].steps), list(found)


def _values(found: Sequence[Measured], quantity: Quantity) -> Values:
    """Of a setting's seeds."""
    if quantity.over_clips:
        return np.array([seed.clips[quantity.name] for seed in found])
    return np.array([seed.figures[quantity.name] for seed in found])


def _banded(one: Measured) -> Float[np.ndarray, " bands"]:
    """The mean of the errors in each band."""
    count = len(bands.EDGES) + 1
    band = bands.band_of(np.asarray(one.log_snr, np.float64))
    there = np.bincount(band, minlength=count)
    with np.errstate(invalid="ignore"):
        return np.bincount(band, weights=np.asarray(one.errors), minlength=count) / there


def _others(
    study: Study, results: Results, quantities: Sequence[Quantity]
) -> dict[str, dict[Setting, dict[str, Float[np.ndarray, " _"]]]]:
    """Rows that students are held against: the network they began as, bounds."""
    rows: dict[str, dict[Setting, dict[str, list[float]]]] = {}
    seeds = [Cell("teacher", "", seed) for seed in range(study.seeds)]
    for cell, measured in results.of([Cell("bounds"), *seeds]).items():
        for one in measured:
            at = rows.setdefault(one.what or cell.method, {})
            known = at.setdefault(Setting("progressive", one.steps), {})
            for quantity in quantities:
                if quantity.name in one.figures:
                    known.setdefault(quantity.name, []).append(one.figures[quantity.name])
    return {
        row: {at: {name: np.array(x) for name, x in known.items()} for at, known in found.items()}
        for row, found in rows.items()
    }
