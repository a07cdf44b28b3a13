import csv
import dataclasses
import io
import json
import math
import types

import numpy as np
import pytest

from ldm_jax.eval.report.files import (
    csv_text,
    escaped,
    json_text,
    markdown,
    read_report,
    report_from_json,
    write,
)
from tests.eval.report.material import SHA256, figure, odd_report, report


def test_json_and_back():
    for one in (report(), report(half=None), report(figures=(), problems=())):
        assert report_from_json(json_text(one)) == one


def test_json_of_odd_things():
    one = odd_report()
    text = json_text(one)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    back = report_from_json(text)
    assert math.isnan(back.figures[0].estimate.value)
    assert back.figures[0].estimate.details == {"r2": -math.inf, "slope": 0.1}
    # NaN is not equal to itself
    assert repr(back) == repr(one)
    assert back.figures[1:] == one.figures[1:]


def test_numbers_of_numpy_and_frozen_mappings():
    settings = types.MappingProxyType({"eps": np.float32(0.5), "splits": np.int64(10)})
    one = dataclasses.replace(figure("fad", "FAD", np.float64(1.5)), settings=settings)
    back = report_from_json(json_text(report(figures=(one,))))
    assert back.figures[0].settings == {"eps": 0.5, "splits": 10}
    assert back.figures[0].estimate.value == 1.5
    bad = dataclasses.replace(one, settings={"rows": np.zeros(3)})
    with pytest.raises(ValueError, match="cannot hold ndarray"):
        json_text(report(figures=(bad,)))


def test_reading_what_is_no_report(tmp_path):
    good = json.loads(json_text(report()))
    bad = {
        "{": "Expecting property name",
        "[1]": "has no figures",
        '{"settings": {}}': "has no figures",
        json.dumps(good | {"format": 99}): "its format is 99, and 1 is known",
        json.dumps({key: value for key, value in good.items() if key != "preset"}): "has no preset",
        json.dumps(good | {"generated": {"colour": 1}}): "a part of it is something else",
        json.dumps(good | {"figures": [1]}): "a part of it is something else",
    }
    for i, (text, why) in enumerate(bad.items()):
        path = tmp_path / f"{i}.json"
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"{i}\.json is not a report: .*{why}"):
            read_report(path)
    write(tmp_path / "new" / "report.json", json_text(odd_report()))
    assert read_report(tmp_path / "new" / "report.json").system == odd_report().system


def test_csv_has_a_row_a_figure_and_all_digits():
    one, odd = report(fad=0.1 + 0.2), odd_report()
    rows = list(csv.DictReader(io.StringIO(csv_text([one, odd]))))
    assert [(row["system"], row["figure"]) for row in rows] == [
        (system.system, part.name) for system in (one, odd) for part in system.figures
    ]
    assert float(rows[0]["value"]) == 0.1 + 0.2
    assert float(rows[0]["low"]) == one.figures[0].estimate.low
    assert (rows[0]["better"], rows[0]["clips"]) == ("lower", "975")
    assert json.loads(rows[0]["settings"]) == {"backbone": "vggish", "eps": 1e-6}
    assert json.loads(rows[1]["details"]) == {"std": 0.31}
    assert rows[3]["value"] == "nan"
    assert (rows[4]["low"], rows[4]["high"]) == ("", "")
    assert json.loads(rows[5]["generation"])["steps"] == 25


def cells(line):
    """Of a row of a table of Markdown; what stands behind a backslash is text."""
    line = line.replace(r"\|", "\0")
    return [cell.strip().replace("\0", "|") for cell in line.strip("|").split("|")]


def test_markdown():
    lines = markdown(report(skipped={"wer": "no recogniser"})).splitlines()
    assert cells(lines[0]) == ["figure", "value", "95 % interval", "clips", "settings"]
    assert cells(lines[2]) == ["FAD ↓", "1.91", "1.79 to 2.03", "975", "backbone vggish, eps 1e-06"]
    assert lines[5] == ""
    assert lines[6] == (
        "teacher, preset audioldm_eval: 975 clips, 9,984.0 s, of out/teacher, against 975 references, 9,750.0 s,"
        f" of AudioCaps/test; networks by SHA-256: vggish {SHA256[:12]}; 1 left out, the first a.wav: the file is"
        " empty; not computed: wer (no recogniser); ldm_jax 0.1.0."
    )


def test_markdown_of_odd_things():
    lines = markdown(odd_report()).splitlines()
    assert {len(cells(line)) for line in lines[:5]} == {5}
    assert cells(lines[2])[0] == "N|N ↑"
    assert r"\$x\$ \*y\*" in lines[6]
    assert escaped("a_b _c_ `d` <e>\n\\") == r"a_b \_c\_ \`d\` \<e> \\"
