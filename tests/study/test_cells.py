"""Results are kept, also past a kill; cells are one each."""

import json

import pytest

from ldm_jax.study.cells import Cell, Measured, Results, cells_of
from ldm_jax.study.settings import ToyStudy

CELL = Cell("progressive", "bsa:reading=sum", 3)
FOUND = [
    Measured(steps=25, figures={"a": 0.1}, log_snr=(1.0, -2.0), errors=(0.5, 0.25)),
    Measured(steps=1, figures={"a": 1 / 3, "b": -2.0}, what="bound"),
]


def test_cells_are_every_combination_seed_by_seed():
    cells = cells_of(ToyStudy(weightings=("bsa", "snr"), seeds=2, methods=("progressive",)))
    assert cells == [
        Cell("progressive", weighting, seed) for seed in (0, 1) for weighting in ("bsa", "snr")
    ]
    assert len(cells_of(ToyStudy())) == 15 * 2 * 5


def test_folders_are_plain_names():
    assert CELL.folder == "progressive-bsa_reading_sum-3"
    assert Cell("bounds").folder == "bounds-0"
    cells = cells_of(ToyStudy())
    assert len({cell.folder for cell in cells}) == len(cells)


def test_results_come_back_as_they_were(tmp_path):
    results = Results(tmp_path)
    assert CELL not in results
    results.add(CELL, FOUND)
    results.add(Cell("bounds"), [])
    again = Results(tmp_path)
    assert again[CELL] == tuple(FOUND)
    assert again[Cell("bounds")] == ()
    assert list(again.of([Cell("teacher"), CELL])) == [CELL]


@pytest.mark.parametrize("cut", [1, 20])
def test_a_line_that_a_kill_cut_off_does_not_count(tmp_path, cut):
    results = Results(tmp_path)
    results.add(Cell("bounds"), FOUND)
    results.add(CELL, FOUND)
    path = tmp_path / "results.jsonl"
    path.write_text(path.read_text()[:-cut])
    after = Results(tmp_path)
    assert Cell("bounds") in after
    assert (CELL in after) == (cut == 1)  # only its newline is gone
    after.add(Cell("teacher"), FOUND)
    last = Results(tmp_path)
    assert {cell for cell in (Cell("bounds"), Cell("teacher"), CELL) if cell in last} == {
        Cell("bounds"),
        Cell("teacher"),
        *([CELL] if cut == 1 else []),
    }
    assert json.loads(path.read_text().splitlines()[-1])["cell"]["method"] == "teacher"
