"""The table of results that are known."""

import numpy as np

from ldm_jax.study.table import Setting
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


def test_a_figure_that_a_cell_lacks_is_left_out(tmp_path):
    """Consistency students have no score here; nobody has one of the third kind."""
    table = material.table(tmp_path)
    assert "score" not in table.values[Setting("consistency", 1)]
    assert [one.name for one in table.quantities] == ["error", "score"]
