"""What the pictures draw is what was measured."""

import numpy as np

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
    np.testing.assert_allclose(lines(axes[1, 0])["snr"].get_ydata(), 0.3, rtol=1e-9)
    assert axes[0, 0].get_yscale() == "log"
    assert axes[0, 2].get_yscale() == "linear"  # scores lie below 0


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
