"""The cells of a study and what has been measured of them: a line of JSON each, written when a cell is done."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ldm_jax.study.settings import Study, by_name


@dataclasses.dataclass(frozen=True, order=True)
class Cell:
    """One run.

    Attributes:
        method: "progressive" or "consistency"; "teacher" and "bounds" are for what students are held against.
        weighting: its name; "" where there is none.
        seed: of the run.
    """

    method: str
    weighting: str = ""
    seed: int = 0

    @property
    def folder(self) -> str:
        """METHOD-WEIGHTING-SEED, in letters that every file system takes."""
        parts = (self.method, re.sub(r"\W+", "_", self.weighting), str(self.seed))
        return "-".join(filter(None, parts))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of a cell at one number of steps.

    Attributes:
        what: of "bounds" the bound's name; else "".
        steps: that its samples were drawn in.
        figures: by name.
        log_snr: levels, or centres of bands, at which `errors` were found.
        errors: plain mean squared errors of x0 there.
        clips: numbers a clip, in the order of the clips' names, where a figure is their mean.
        bounds: 95 % intervals over clips of figures that are not means.
    """

    steps: int
    figures: dict[str, float]
    clips: dict[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    bounds: dict[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    what: str = ""
    log_snr: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()


def cells_of(study: Study) -> list[Cell]:
    """Seed by seed, so that whatever has been done can be compared."""
    return [
        Cell(method, weighting, seed)
        for seed in range(study.seeds)
        for method in study.methods
        for weighting in by_name(study)
    ]


class Results:
    """`results.jsonl` of a study's folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Reads what is there; a line that a kill has cut off does not count."""
        self._path = folder / "results.jsonl"
        self._measured: dict[Cell, tuple[Measured, ...]] = {}
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        for line in lines:
            try:
                read = json.loads(line)
            except ValueError:
                continue
            self._measured[Cell(**read["cell"])] = tuple(map(_measured, read["measured"]))

    def __contains__(self, cell: Cell) -> bool:
        return cell in self._measured

    def __getitem__(self, cell: Cell) -> tuple[Measured, ...]:
        return self._measured[cell]

    def add(self, cell: Cell, measured: Sequence[Measured]) -> None:
        """Keeps a cell that is done.

        Raises:
            OSError: the folder cannot be written.
        """
        line = {
            "cell": dataclasses.asdict(cell),
            "measured": [dataclasses.asdict(one) for one in measured],
        }
        with self._path.open("a+") as file:
            if file.tell():
                file.seek(file.tell() - 1)
                file.write("" if file.read() == "\n" else "\n")
            file.write(json.dumps(line) + "\n")
        self._measured[cell] = tuple(measured)

    def of(self, cells: Iterable[Cell]) -> dict[Cell, tuple[Measured, ...]]:
        """Those of the cells that are done."""
        return {cell: self._measured[cell] for cell in cells if cell in self._measured}


def _measured(read: dict[str, Any]) -> Measured:
    return Measured(**{name: _in_tuples(value) for name, value in read.items()})


def _in_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _in_tuples(one) for name, one in value.items()}
    return tuple(value) if isinstance(value, list) else value
