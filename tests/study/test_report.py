"""Sentences, cells and JSON of results that are known."""

import json
import re

import numpy as np
import scipy.stats

from ldm_jax.study import report
from ldm_jax.study.table import Setting
from tests.study import material


def row(text, heading, name):
    """Cells of a row in the table that follows a heading."""
    block = text[text.index(heading) :]
    line = next(line for line in block.splitlines() if line.startswith(f"| {name}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_what_it_says(tmp_path):
    said = report.summary(material.table(tmp_path))
    assert len(said) == 5
    assert said[0].startswith(
        "progressive, 25 steps: the lowest error is that of edm, 0.390; bsa has 0.392, and the difference, -0.0013 ("
    )
    assert "is no more than noise (p = 0.8" in said[0]
    assert said[0].endswith("1 of 2 differ from bsa by more than noise.")
    assert said[1].startswith("progressive, 1 step: the lowest error is that of edm, 1.35")
    assert said[2].startswith("consistency, 1 step")
    assert said[3].startswith("progressive, 25 steps: the highest score is that of edm, -0.390")


def test_what_it_says_where_the_reference_is_best(tmp_path, monkeypatch):
    monkeypatch.setitem(material.BASE, "bsa", 0.1)
    (first, *_) = report.summary(material.table(tmp_path))
    assert "is that of bsa, 0.292; the next is edm, 0.390, and the difference, +0.099 (" in first
    assert "is more than noise (p = 0.0" in first
    assert first.endswith("2 of 2 differ from bsa by more than noise.")


def test_what_is_spoken_of():
    """25 steps and one; of students of other steps, those of the fewest."""
    settings = [Setting("progressive", n) for n in (100, 25, 1)]
    others = [Setting("consistency", n) for n in (4, 2)]
    assert report.spoken_of([*settings, *others]) == [*settings[1:], others[1]]


def test_cells(tmp_path):
    text = report.markdown(material.table(tmp_path), title="A study", notes=["a note"])
    assert text.startswith("# A study\n\na note\n\n* progressive, 25 steps")
    values = material.over_seeds("progressive", "snr", 25)
    half = scipy.stats.sem(values) * scipy.stats.t.ppf(0.975, 3)
    cells = row(text, "## error\n", "snr")
    assert cells[2] == f"{values.mean():.3f} ± {half:.2f}\\*"
    assert re.fullmatch(r"\*\*0.390 ± 0.\d\d\*\*", row(text, "## error\n", "edm")[2])
    assert "\\*" not in row(text, "## error\n", "bsa")[2]
    assert len(cells) == 6
    assert len(row(text, "## score\n", "snr")) == 4
    assert row(text, "Difference from bsa", "snr")[1] == "+0.3 (+0.3 to +0.3)"
    assert row(text, "## error\n", "*floor")[0] == "*floor: 0.125*"
    assert row(text, "## error\n", "*teacher")[:3] == ["*teacher, 200 steps: 10.5*", "", "10.5"]
    bands = row(text, "## Error of x0 by log SNR: progressive, 25 steps", "bsa")
    assert bands == ["bsa", "1.00", "0.700", "0.400"]
    assert "by log SNR: progressive, 1 step" not in text  # one level is no curve


def test_json_has_all_digits(tmp_path):
    table = material.table(tmp_path)
    read = json.loads(json.dumps(report.as_json(table), allow_nan=False))
    first = read["settings"][1]
    assert (first["method"], first["steps"]) == ("progressive", 25)
    snr = first["quantities"]["error"]["snr"]
    expected = material.over_seeds("progressive", "snr", 25)
    np.testing.assert_array_equal(snr["seeds"], expected)
    assert snr["difference"]["p"] < 1e-6
    assert "difference" not in first["quantities"]["error"]["bsa"]
    assert [x and round(x, 12) for x in first["errors"]["bsa"][0]] == [
        1,
        None,
        0.7,
        *[None] * 3,
        0.4,
    ]
    assert read["others"]["floor"] == [{"steps": 0, "error": [0.125]}]
    assert read["summary"] == report.summary(table)
