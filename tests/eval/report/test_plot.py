import dataclasses

import numpy as np
import pytest
from matplotlib import colors
from PIL import Image

from ldm_jax.eval.report import plot as module
from ldm_jax.eval.report.compare import columns
from ldm_jax.eval.report.plot import COLOURS, plot, sweep_axis
from tests.eval.report.material import figure, odd_report, report


def sweep(samplers=("ddim",), scales=(3.5,), steps=(4, 16, 64)):
    return [
        report(
            f"{sampler}-{n}-{scale:g}",
            fad=8 / n + scale,
            generation={"steps": n, "sampler": sampler, "guidance_scale": scale},
        )
        for sampler in samplers
        for scale in scales
        for n in steps
    ]


def pixels(path, colour):
    """How many pixels have about this colour."""
    image = np.asarray(Image.open(path).convert("RGB")).astype(int)
    wanted = np.rint(255 * np.array(colors.to_rgb(colour)))
    return int((np.abs(image - wanted).sum(-1) < 30).sum())


def test_what_is_drawn_over_what():
    assert sweep_axis(sweep()) == "steps"
    assert sweep_axis(sweep(scales=(2.0, 3.5), steps=(25,))) == "guidance_scale"
    assert sweep_axis(sweep(samplers=("ddim", "dpmpp_2m"))) == "steps"
    assert sweep_axis(sweep(samplers=("ddim", "dpmpp_2m"), steps=(25,))) is None
    assert sweep_axis([report("a"), report("b")]) is None
    # Another sampler and other steps at once are no curve.
    assert sweep_axis([*sweep(steps=(4,)), *sweep(samplers=("dpmpp_2m",), steps=(8,))]) is None


def test_systems_are_points_with_their_values(tmp_path):
    reports = [report("teacher"), report("student", fad=2.5)]
    drawn = module._draw_systems(columns(reports), reports, "")
    assert [axes.get_title(loc="left") for axes in drawn.axes] == ["FAD ↓", "IS ↑", "CLAP ↑"]
    first = drawn.axes[0]
    assert [label.get_text() for label in first.get_yticklabels()] == ["teacher", "student"]
    assert [text.get_text() for text in first.texts] == ["1.91", "2.50"]
    assert [text.get_fontweight() for text in first.texts] == ["bold", "normal"]
    points = [line for line in first.lines if line.get_marker() == "o"]
    assert [float(line.get_xdata()[0]) for line in points] == [1.9083, 2.5]
    bars = [line for line in first.lines if line.get_marker() != "o"]
    np.testing.assert_allclose(
        [line.get_xdata() for line in bars], [[1.7883, 2.0283], [2.38, 2.62]]
    )
    plot(tmp_path / "new" / "systems.png", reports)
    assert pixels(tmp_path / "new" / "systems.png", COLOURS[0]) > 500


def test_curves_over_steps(tmp_path):
    reports = sweep(samplers=("ddim", "dpmpp_2m"), scales=(2.0, 3.5))
    drawn = module._draw_curves(columns(reports), reports, "steps")
    axes = drawn.axes[0]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["4", "16", "64"]
    names = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert names == [f"{s}, guidance {g}" for s in ("ddim", "dpmpp_2m") for g in (2.0, 3.5)]
    for line, scale in zip(axes.lines, (2.0, 3.5) * 2, strict=True):
        np.testing.assert_allclose(line.get_xdata(), [4, 16, 64], rtol=0.02)
        np.testing.assert_allclose(line.get_ydata(), [8 / n + scale for n in (4, 16, 64)])
    assert len({line.get_color() for line in axes.lines}) == 4
    assert len({line.get_marker() for line in axes.lines}) == 4
    plot(tmp_path / "curves.png", reports)
    assert all(pixels(tmp_path / "curves.png", colour) > 500 for colour in COLOURS[:4])


def test_one_curve_has_no_legend_and_points_in_order():
    reports = sweep(steps=(64, 4, 16))
    drawn = module._draw_curves(columns(reports), reports, "steps")
    assert drawn.legends == []
    np.testing.assert_array_equal(drawn.axes[0].lines[0].get_xdata(), [4, 16, 64])


def test_odd_names_and_numbers(tmp_path):
    plot(tmp_path / "odd.png", [odd_report(), report("a" * 60)])
    with pytest.raises(ValueError, match="no figure to draw"):
        plot(tmp_path / "none.png", [report(figures=(figure("x", "X", float("nan")),))])
    with pytest.raises(ValueError, match="no figure to draw"):
        plot(tmp_path / "none.png", [])
    assert [path.name for path in tmp_path.iterdir()] == ["odd.png"]


def test_a_report_without_settings_is_not_on_the_curve():
    reports = [*sweep(), dataclasses.replace(report("reference"))]
    drawn = module._draw_curves(columns(reports), reports, sweep_axis(reports))
    assert len(drawn.axes[0].lines[0].get_xdata()) == 3
