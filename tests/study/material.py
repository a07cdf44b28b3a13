"""A study's results without a study: numbers that can be written down."""

import numpy as np

from ldm_jax.study.cells import Cell, Measured, Results
from ldm_jax.study.settings import ToyStudy
from ldm_jax.study.table import Quantity, table_of

STUDY = ToyStudy(weightings=("snr", "edm", "bsa"), seeds=4, students=(100, 25, 1), few_steps=(1, 2))
QUANTITIES = (
    Quantity(name="error", label="error"),
    Quantity(name="score", label="score", higher=True),
)
BASE = {"snr": 0.5, "edm": 0.2002, "bsa": 0.2}
LEVELS = (5.0, -3.0, -3.5, -7.0)


def error(method, weighting, seed, steps):
    """Far more between seeds than between weightings; edm is bsa but for noise that has no mean."""
    own = BASE[weighting] + (0.01 * (-1) ** seed if weighting == "edm" else 0.001 * seed)
    return own + 0.1 * seed + 1 / steps + (1.0 if method == "consistency" else 0.0)


def measured(cell, steps):
    figures = {"error": error(cell.method, cell.weighting, cell.seed, steps)}
    if cell.method == "progressive":
        figures["score"] = -figures["error"]
    levels = LEVELS if steps > 1 else LEVELS[-1:]
    errors = tuple(BASE[cell.weighting] * (2.0 + i) for i in range(len(levels)))
    return Measured(steps=steps, figures=figures, log_snr=levels, errors=errors)


def results(folder):
    made = Results(folder)
    for seed in range(STUDY.seeds):
        for weighting in STUDY.weightings:
            for method, steps in (
                ("progressive", STUDY.students),
                ("consistency", STUDY.few_steps),
            ):
                cell = Cell(method, weighting, seed)
                made.add(cell, [measured(cell, n) for n in steps])
        teacher = [Measured(steps=n, figures={"error": 9.0 + seed}) for n in (200, 25)]
        made.add(Cell("teacher", "", seed), teacher)
    made.add(Cell("bounds"), [Measured(steps=0, what="floor", figures={"error": 0.125})])
    return made


def table(folder):
    return table_of(STUDY, results(folder), QUANTITIES)


def over_seeds(method, weighting, steps):
    return np.array([error(method, weighting, seed, steps) for seed in range(STUDY.seeds)])
