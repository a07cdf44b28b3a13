import dataclasses

from ldm_jax.eval.report.compare import columns, compare_markdown, compare_table, differences
from ldm_jax.eval.report.numbers import shown_width
from ldm_jax.eval.report.record import Side
from tests.eval.report.material import figure, report
from tests.eval.report.test_files import cells

TEACHER, STUDENT = report("teacher"), report("student", fad=2.5, clap=0.3)


def test_columns_and_the_best():
    made = columns([TEACHER, STUDENT])
    assert [(column.heading, column.best) for column in made] == [
        ("FAD ↓", {0}),
        ("IS ↑", {0, 1}),
        ("CLAP ↑", {1}),
    ]
    lone = report(
        "other", figures=(figure("kl", "KL", 1.0), figure("fad.clap", "FAD", float("nan")))
    )
    made = columns([TEACHER, lone])
    assert [(column.heading, column.best) for column in made] == [
        ("fad.vggish ↓", {0}),
        ("IS ↑", {0}),
        ("CLAP ↑", {0}),
        ("KL ↓", {1}),
        ("fad.clap ↓", set()),
    ]
    assert [one is None for one in made[3].figures] == [True, False]


def test_table_on_the_screen():
    assert compare_table([TEACHER, STUDENT], width=100, unicode=True).splitlines() == [
        "         FAD ↓  95 % interval   IS ↑  95 % interval   CLAP ↑     95 % interval",
        "teacher  1.91*   1.79 to 2.03  8.29*   8.17 to 8.41  0.2468   0.2428 to 0.2508",
        "student  2.50    2.38 to 2.62  8.29*   8.17 to 8.41  0.3000*  0.2960 to 0.3040",
    ]
    narrow = compare_table([TEACHER, STUDENT], width=55, unicode=True)
    assert narrow.count("teacher") == 2
    assert all(shown_width(line) <= 55 for line in narrow.splitlines())


def test_markdown():
    lines = compare_markdown(
        [TEACHER, STUDENT, report("a|b", figures=TEACHER.figures[:1])]
    ).splitlines()
    assert cells(lines[0]) == ["system", "FAD ↓", "IS ↑", "CLAP ↑"]
    assert cells(lines[2]) == [
        "teacher",
        "**1.91** (1.79 to 2.03)",
        "**8.29** (8.17 to 8.41)",
        "0.2468 (0.2428 to 0.2508)",
    ]
    assert cells(lines[3])[3] == "**0.3000** (0.2960 to 0.3040)"
    assert cells(lines[4]) == ["a|b", "**1.91** (1.79 to 2.03)", "", ""]
    (fact,) = [line for line in lines if line.startswith("* ")]  # it is the same of all
    assert fact.startswith(r"* teacher, student, a\|b: preset audioldm_eval; 975 clips")


def test_reports_that_can_be_compared():
    assert differences([TEACHER, STUDENT, report("c", versions={"ldm_jax": "9"})]) == ()
    assert "Note" not in compare_table([TEACHER, STUDENT], width=80)


def test_a_sentence_for_each_difference():
    def said(**changes):
        return differences([TEACHER, STUDENT, report("c", **changes)])

    assert said(preset="ldm_jax") == (
        "the presets differ: audioldm_eval (teacher, student), ldm_jax (c)",
    )
    assert said(backbones={"vggish": {"sha256": "f" * 64}}) == (
        "the weights of vggish differ: 100869762458 (teacher, student), ffffffffffff (c)",
    )
    assert said(clips=900) == (
        "the numbers of clips differ, on which distances between sets depend: 975 (teacher, student), 900 (c)",
    )
    assert said(reference=Side(source="AudioCaps/test", clips=900, seconds=9000.0)) == (
        "the references differ: 975 clips, 9,750.0 s, of AudioCaps/test (teacher, student), 900 clips,"
        " 9,000.0 s, of AudioCaps/test (c)",
    )
    assert said(reference=None)[0].endswith("of AudioCaps/test (teacher, student), none (c)")
    (elsewhere,) = said(reference=Side(source="other", clips=975, seconds=9750.0))
    assert elsewhere.startswith(
        "the references are as many and as long, but not from the same place: "
    )
    held = {"clips": 975, "seconds": 9750.0}
    known = Side(source="here", digest="a" * 64, **held)
    moved = dataclasses.replace(known, source="there")
    other = dataclasses.replace(known, digest="b" * 64)
    one, two, three = (
        report(f"r{i}", reference=side) for i, side in enumerate((known, moved, other))
    )
    assert differences([one, two]) == ()
    assert differences([one, three]) == (
        "the references differ: 975 clips, SHA-256 aaaaaaaaaaaa (r0), 975 clips, SHA-256 bbbbbbbbbbbb (r2)",
    )
    eps = figure("fad.vggish", "FAD", 1.0, backbone="vggish", eps=1e-7)
    assert said(figures=(eps,)) == (
        "fad.vggish is not the same figure: eps 1e-06 (teacher, student), eps 1e-07 (c)",
    )
    fewer = figure("fad.vggish", "FAD", 1.0, backbone="vggish", eps=1e-6, clips=970)
    assert said(figures=(fewer,)) == (
        "fad.vggish is of different numbers of clips: 975 (teacher, student), 970 (c)",
    )


def test_many_systems_are_told_in_number():
    reports = [dataclasses.replace(TEACHER, system=f"s{i}") for i in range(30)]
    (sentence,) = differences([*reports, report("c", preset="other")])
    assert sentence == "the presets differ: audioldm_eval (s0, s1, s2 and 27 more), other (c)"
