import io
import sys

import pytest

from ldm_jax.eval.report.numbers import shown_width
from ldm_jax.eval.report.record import Problem
from ldm_jax.eval.report.table import table
from tests.eval.report.material import odd_report, report


def test_all_that_belongs_to_the_figures():
    shown = table(
        report(generation={"steps": 25, "guidance_scale": 3.5, "eta": None}),
        width=100,
        unicode=True,
    )
    assert shown.splitlines() == [
        "teacher by the rules of audioldm_eval",
        "975 clips, 9,984.0 s, of out/teacher",
        "against 975 references, 9,750.0 s, of AudioCaps/test",
        "drawn with steps 25, guidance_scale 3.5",
        "",
        "         value     95 % interval  clips",
        "FAD ↓     1.91      1.79 to 2.03    975   vggish",
        "IS ↑      8.29      8.17 to 8.41    975   std 0.31",
        "CLAP ↑  0.2468  0.2428 to 0.2508    975",
        "",
        "Networks:",
        "  vggish: vggish-10086976.pth, SHA-256 100869762458",
        "",
        "1 left out:",
        "  a.wav: the file is empty",
    ]


def test_without_intervals_and_references():
    lines = table(report(half=None, reference=None, problems=()), width=100, unicode=True)
    assert "against" not in lines
    assert "interval" not in lines
    assert "FAD ↓    1.9083    975   vggish" in lines
    assert "left out" not in lines


@pytest.mark.parametrize(("one", "width"), [(report(), 40), (odd_report(), 60), (odd_report(), 80)])
def test_figures_fit_the_terminal(one, width):
    shown = table(one, width=width, unicode=True).splitlines()
    start = next(i for i, line in enumerate(shown) if "value" in line)
    assert all(shown_width(line) <= width for line in shown[start : start + 4])


def test_long_lists_are_told_in_number():
    problems = tuple(
        Problem(file=f"{i}.wav", why="no more than 2 s", dropped=i < 7) for i in range(9)
    )
    lines = table(
        report(problems=problems, skipped={"wer": "no recogniser"}), width=80, unicode=True
    )
    assert "7 left out:\n  0.wav: no more than 2 s\n" in lines
    assert "  … and 2 more, all in the JSON report" in lines
    assert "2 to be noted:\n  7.wav: no more than 2 s\n  8.wav" in lines
    assert "Not computed:\n  wer: no recogniser" in lines
    assert "no figure was computed" in table(report(figures=()), width=80, unicode=True)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_terminals_that_know_few_signs(monkeypatch, encoding):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    shown = table(report("雨"), width=120)
    print(shown)  # what cannot be encoded would raise
    assert "?" in shown.splitlines()[0]
    lines = [line for line in shown.splitlines() if "is better" in line]
    assert [line.split("  ")[0] for line in lines] == [
        "FAD (lower is better)",
        "IS (higher is better)",
        "CLAP (higher is better)",
    ]
    assert len({line.index("975") for line in lines}) == 1  # still in columns


def test_other_weights_than_published_are_told():
    known = {"vggish": {"source": "vggish.pth", "sha256": "f" * 64, "published": "no"}}
    lines = table(report(backbones=known), width=100, unicode=True).splitlines()
    assert "  vggish: vggish.pth, SHA-256 ffffffffffff, not the published file" in lines
