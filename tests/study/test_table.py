"""The table of results that are known."""

import numpy as np

from ldm_jax.study.cells import Cell, Measured, Results
from ldm_jax.study.settings import ToyStudy
from ldm_jax.study.statistics import interval
from ldm_jax.study.table import Quantity, Setting, table_of
from tests.study import material


def test_values_and_differences(tmp_path):
    table = material.table(tmp_path)
    assert list(table.values) == [
        *(Setting("progressive", n) for n in (100, 25, 1)),
        *(Setting("consistency", n) for n in (1, 2)),
    ]
    setting = Setting("progressive", 25)
    for weighting in material.STUDY.weightings:
        expected = material.over_seeds("progressive", weighting, 25)
        np.testing.assert_array_equal(table.values[setting]["error"][weighting], expected)
    snr = table.differences(setting, "error")["snr"]
    np.testing.assert_allclose((snr.mean, snr.low, snr.high), 0.3, rtol=1e-9)
    assert snr.certain
    assert not table.differences(setting, "error")["edm"].certain


def test_the_best_is_the_lowest_or_the_highest(tmp_path):
    table, setting = material.table(tmp_path), Setting("progressive", 1)
    error, score = table.quantities
    assert table.best(setting, error) == table.best(setting, score) == "edm"
    assert table.settings(score) == [Setting("progressive", n) for n in (100, 25, 1)]


def test_errors_by_band(tmp_path):
    """Two levels lie in the band from -4 to -2, whose error is their mean."""
    found = material.table(tmp_path).errors[Setting("progressive", 100)]["bsa"]
    assert found.shape == (4, 7)
    expected = [1.0, np.nan, 0.7, np.nan, np.nan, np.nan, 0.4]
    np.testing.assert_allclose(found, np.tile(expected, (4, 1)), rtol=1e-12)


def test_others(tmp_path):
    others = material.table(tmp_path).others
    assert others["floor"][Setting("progressive", 0)]["error"] == [0.125]
    assert list(others["teacher"][Setting("progressive", 25)]["error"]) == [9, 10, 11, 12]


def test_over_clips(tmp_path):
    """A quantity of clips is a row a seed; a figure's own bounds are averaged over seeds."""
    study = ToyStudy(weightings=("snr", "bsa"), seeds=2, methods=("progressive",))
    clips = {"snr": [(1.0, 2.0, 4.0), (2.0, 3.0, 6.0)], "bsa": [(1.0, 1.0, 1.0), (2.0, 2.0, 3.0)]}
    results = Results(tmp_path)
    for name, rows in clips.items():
        for seed, row in enumerate(rows):
            one = Measured(
                steps=1,
                figures={"far": float(np.mean(row)), "set": 5.0 + seed},
                clips={"far": row},
                bounds={"set": (4.0 + seed, 7.0 + seed)},
            )
            results.add(Cell("progressive", name, seed), [one])
    far = Quantity(name="far", label="far", over_clips=True)
    table = table_of(study, Results(tmp_path), (far, Quantity(name="set", label="set")))
    (setting,) = table.values
    np.testing.assert_array_equal(table.values[setting]["far"]["snr"], clips["snr"])
    assert table.intervals(setting, "far")["snr"] == interval(np.array([1.5, 2.5, 5.0]))
    assert table.intervals(setting, "set")["bsa"] == (5.5, 4.5, 7.5)
    assert table.differences(setting, "far")["snr"].mean == interval(np.array([0, 1, 3.0])).mean


def test_a_figure_that_a_cell_lacks_is_left_out(tmp_path):
    """Consistency students have no score here; nobody has one of the third kind."""
    table = material.table(tmp_path)
    assert "score" not in table.values[Setting("consistency", 1)]
    assert [one.name for one in table.quantities] == ["error", "score"]
