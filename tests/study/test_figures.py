"""What the pictures draw is what was measured."""

import dataclasses

import numpy as np
import scipy.stats

from ldm_jax.study import figures
from ldm_jax.study.settings import by_name
from tests.study import material


def lines(axis):
    return {line.get_label(): line for line in axis.lines}


def test_quality(tmp_path):
    table = material.table(tmp_path)
    axes = np.reshape(figures.quality(table).axes, (2, 3))
    titles = [axis.get_title(loc="left") for axis in axes[0]]
    assert titles == ["error, progressive", "error, consistency", "score, progressive"]
    x, y = lines(axes[0, 0])["edm"].get_data()
    np.testing.assert_array_equal(x, [1, 25, 100])
    expected = [material.over_seeds("progressive", "edm", n).mean() for n in (1, 25, 100)]
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    assert axes[0, 0].get_yscale() == "log"
    axes[0, 0].figure.draw_without_rendering()
    labels = [text.get_text() for text in axes[0, 0].get_yticklabels(which="both")]
    assert sum(map(bool, labels)) >= 2  # though the errors span less than a decade
    for number, steps in enumerate((25, 1)):  # rows: snr, edm
        name = ("25 steps", "1 step")[number]
        x, y = lines(axes[1, 0])[name].get_data()
        bsa = material.over_seeds("progressive", "bsa", steps)
        apart = [material.over_seeds("progressive", name, steps) - bsa for name in ("snr", "edm")]
        np.testing.assert_allclose(x, [one.mean() for one in apart], rtol=1e-9)
        np.testing.assert_array_equal(y.round(), [0, 1])
    ends = axes[1, 0].collections[0].get_segments()[1][:, 0]
    half = scipy.stats.sem(apart[1]) * scipy.stats.t.ppf(0.975, 3)
    np.testing.assert_allclose(ends, x[1] + np.array([-half, half]), rtol=1e-6)
    assert axes[0, 2].get_yscale() == "linear"  # scores lie below 0


def test_one_number_of_steps_is_no_curve(tmp_path):
    """Then means stand in rows, as differences do."""
    table = material.table(tmp_path)
    kept = {setting: found for setting, found in table.values.items() if setting.steps == 1}
    axes = figures.quality(dataclasses.replace(table, values=kept)).axes
    x, _ = lines(axes[0])["1 step"].get_data()
    expected = [material.over_seeds("progressive", n, 1).mean() for n in ("snr", "edm", "bsa")]
    np.testing.assert_allclose(x, expected, rtol=1e-9)
    assert [text.get_text() for text in axes[0].get_yticklabels()] == ["snr", "edm", "bsa"]


def test_errors(tmp_path):
    axes = figures.errors(material.table(tmp_path)).axes
    above, below = np.reshape(axes, (2, -1))[:, 0]
    x, y = lines(above)["snr"].get_data()
    np.testing.assert_array_equal(x, [0, 2, 6])
    np.testing.assert_allclose(y, [2.5, 1.75, 1.0], rtol=1e-9)
    np.testing.assert_allclose(lines(below)["snr"].get_ydata(), 2.5, rtol=1e-9)
    np.testing.assert_allclose(lines(below)["bsa"].get_ydata(), 1, rtol=1e-9)


def test_weightings():
    weight, density = figures.curves(by_name(material.STUDY), "scaled_linear").axes
    assert [line.get_label() for line in weight.lines[:3]] == ["snr", "edm", "bsa"]
    x, y = weight.lines[2].get_data()
    np.testing.assert_allclose(y, np.clip(np.exp(x), 1, 5) / (np.exp(x) + 1), rtol=1e-9)
    assert density.get_ylim()[0] == 0
