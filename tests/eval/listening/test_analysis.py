import csv
import json

import numpy as np
import pytest

from ldm_jax.eval.listening.__main__ import main
from tests.eval.listening.material import arguments_of, result_of, write_result, write_systems

MEANS = {"zebra": 4, "okapi": 3, "lemur": 2}


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """A test of three systems with five captions; (folder, key, path of the key)."""
    root = tmp_path_factory.mktemp("test")
    folders, table = write_systems(root / "clips")
    with pytest.MonkeyPatch.context() as patch:
        given = [*arguments_of(folders, table), "--clips", "15", "--out", str(root / "t.html")]
        patch.setattr("sys.argv", ["l", "make", *given])
        assert main() == 0
    return root, json.loads((root / "t.key.json").read_text()), root / "t.key.json"


@pytest.fixture
def analyse(field, tmp_path, monkeypatch, capsys):
    """(analysis as JSON, what was printed, status) of results and options."""

    def run(*options):
        out = tmp_path / "report"
        monkeypatch.setattr(
            "sys.argv",
            ["l", "analyse", *map(str, options), "--key", str(field[2]), "--out", str(out)],
        )
        status = main()
        said = capsys.readouterr()
        found = json.loads((out / "analysis.json").read_text()) if status == 0 else None
        return found, said.out + said.err, status

    return run


def honest(system, item, question):
    """The system's mean, one more or less by the caption, and REL one below OVL."""
    value = MEANS[system] + (int(item[-1]) % 3 - 1) - (question == "rel")
    return max(1, min(5, value))


def write_raters(key, folder, count, **more):
    folder.mkdir(exist_ok=True)
    for number in range(count):
        result = result_of(key, 0, rater=str(number + 1), rating=honest, **more)
        write_result(folder / f"{number + 1}.json", result)


def test_known_ratings_give_known_figures(field, analyse, tmp_path):
    _, key, _ = field
    write_raters(key, tmp_path / "results", 4)
    found, said, _ = analyse(tmp_path / "results")
    expected = {}
    for system in MEANS:
        for question in ("ovl", "rel"):
            values = np.repeat([honest(system, f"clip{i}", question) for i in range(5)], 4)
            expected[question, system] = values
    assert len(found["scores"]) == 6
    for score in found["scores"]:
        values = expected[score["question"], score["system"]]
        assert score["mean"] == pytest.approx(values.mean())
        assert score["deviation"] == pytest.approx(values.std(ddof=1))
        assert (score["ratings"], score["raters"], score["items"]) == (20, 4, 5)
        half = 2.093024 * values.std(ddof=1) / np.sqrt(20)  # t of 19 degrees of freedom
        assert score["t_high"] == pytest.approx(values.mean() + half, abs=1e-5)
        assert score["low"] <= score["mean"] <= score["high"]
    for agreement in found["agreement"]:
        assert agreement == {
            "question": agreement["question"],
            "ordinal": 1,
            "interval": 1,
            "clips": 15,
        }
    pairs = {(c["question"], c["first"], c["second"]): c for c in found["comparisons"]}
    assert len(pairs) == 6
    best = pairs["ovl", "zebra", "okapi"]
    of_items = np.array(
        [honest("zebra", f"clip{i}", "ovl") - honest("okapi", f"clip{i}", "ovl") for i in range(5)]
    )
    assert best["difference"] == pytest.approx(of_items.mean())
    assert best["p"] == pytest.approx(2 / 2**5)  # all five differ one way
    assert best["p_holm"] == pytest.approx(3 * 2 / 2**5)
    assert best["effect"] == 1
    assert "4 of 4 raters count" in said


def test_files_say_the_same_as_the_screen(field, analyse, tmp_path):
    write_raters(field[1], tmp_path / "results", 2)
    found, said, _ = analyse(tmp_path / "results")
    rows = list(csv.DictReader((tmp_path / "report" / "analysis.csv").read_text().splitlines()))
    assert [float(row["mean"]) for row in rows] == [score["mean"] for score in found["scores"]]
    assert [row["system"] for row in rows] == [*MEANS] * 2
    written = (tmp_path / "report" / "analysis.md").read_text()
    for score in found["scores"]:
        cells = f"{score['question']} | {score['system']} | {score['mean']:.2f}"
        assert cells in written
        assert cells.replace(" | ", " ") in " ".join(said.split())
    assert (tmp_path / "report" / "analysis.png").read_bytes()[:4] == b"\x89PNG"


def test_a_rater_who_fails_checks_is_left_out_by_name(field, analyse, tmp_path):
    _, key, _ = field
    write_raters(key, tmp_path / "results", 3)

    def careless(system, item, question):
        return 1 if system == "zebra" else 5

    bad = result_of(key, 0, rater="bob", rating=careless, fail=("instruction", "noise"))
    write_result(tmp_path / "results" / "bob.json", bad)
    found, said, _ = analyse(tmp_path / "results")
    assert "3 of 4 raters count" in said
    assert "left out: bob failed 2 of 4 checks (" in said
    assert {s["system"]: s["mean"] for s in found["scores"] if s["question"] == "ovl"}[
        "zebra"
    ] > 3.5
    (rater,) = (r for r in found["raters"] if r["name"] == "bob")
    assert sorted(rater["failed"]) == ["instruction", "noise"]
    found, said, _ = analyse(tmp_path / "results", "--max-failed", "0.5")
    assert "4 of 4 raters count" in said


@pytest.mark.parametrize("kind", ["instruction", "noise", "mismatch"])
def test_one_failed_check_of_four_is_forgiven(field, analyse, tmp_path, kind):
    write_raters(field[1], tmp_path / "results", 1, fail=(kind,))
    found, _, _ = analyse(tmp_path / "results")
    assert found["raters"][0]["failed"] == [kind]
    assert found["raters"][0]["why_not"] == ""
    _, said, status = analyse(tmp_path / "results", "--max-failed", "0")
    assert status == 2
    assert f"no rater's ratings count: 1 failed 1 of 4 checks ({kind})" in said


def test_a_repeat_that_contradicts_itself_is_failed(field, analyse, tmp_path):
    _, key, _ = field
    result = result_of(key, 0, rater="1", rating=honest)
    place = next(
        i for i, t in enumerate(key["rows"][0]) if t.get("check", {}).get("kind") == "repeat"
    )
    first = result["answers"][key["rows"][0][place]["check"]["of"]]["ratings"]
    first.update(ovl=4, rel=3)
    for again, failed in ((2, []), (1, ["repeat"])):
        result["answers"][place]["ratings"] = {"ovl": again, "rel": 3}
        found, _, _ = analyse(write_result(tmp_path / "r.json", result))
        assert found["raters"][0]["failed"] == failed


def test_what_is_half_doubled_strange_or_broken_is_said_and_left_out(field, analyse, tmp_path):
    _, key, path = field
    folder = tmp_path / "results"
    write_raters(key, folder, 2)
    write_result(folder / "half.json", result_of(key, 0, rater="half", rating=honest, until=6))
    write_result(folder / "copy.json", result_of(key, 0, rater="1", rating=honest))
    write_result(
        folder / "again.json",
        {
            **result_of(key, 0, rater="2", rating=honest, session="later"),
            "finished": "2026-02-01T00:00:00Z",
        },
    )
    write_result(
        folder / "other.json",
        {**result_of(key, 0, rater="x", rating=honest), "test": "0" * 12, "title": "Old"},
    )
    tampered = result_of(key, 0, rater="y", rating=honest)
    tampered["answers"][0]["ratings"]["ovl"] = 7
    write_result(folder / "seven.json", tampered)
    swapped = result_of(key, 0, rater="z", rating=honest)
    swapped["answers"][2]["clip"] = swapped["answers"][3]["clip"]
    write_result(folder / "swapped.json", swapped)
    write_result(folder / "row.json", {**result_of(key, 0, rater="w", rating=honest), "row": 99})
    (folder / "cut.json").write_text('{"format": "ldm')
    (folder / "list.json").write_text("[1, 2]")
    write_result(folder / "bare.json", {"format": key["format"], "test": key["test"]})
    (folder / "t.key.json").write_text(path.read_text())
    found, said, _ = analyse(folder)
    assert "2 of 3 raters count" in said
    assert "left out: half rated 6 of 19 clips (--partial counts them)" in said
    for told in (
        "1.json holds the same session of 1",
        "again.json is left out",
        "is of the same rater 2, and was finished first",
        f"other.json is left out: it is of another test, 000000000000 (Old); the key is of {key['test']}",
        "seven.json is left out: its trial 0 answers 'ovl' with 7; 1 to 5 is expected",
        "swapped.json is left out: its trial 2 is not the clip of its row in the key",
        "row.json is left out: it has row or trial 99",
        "cut.json is left out: it is not whole, or no JSON",
        "list.json is left out: it is not a result of a listening test",
        "bare.json is left out: it was changed or cut (KeyError: 'row')",
    ):
        assert told in said
    assert len(found["problems"]) == 9
    assert all(score["ratings"] == 10 for score in found["scores"])
    found, said, _ = analyse(folder, "--partial")
    assert "3 of 3 raters count" in said
    assert sum(score["ratings"] for score in found["scores"]) > 60


def test_z_scores_take_out_how_raters_use_the_scale(field, analyse, tmp_path):
    """A generous and a stingy rater who order alike are one in z-scores."""
    _, key, _ = field
    for name, low in (("generous", 3), ("stingy", 1)):
        rating = {"zebra": low + 2, "okapi": low + 1, "lemur": low}
        result = result_of(key, 0, rater=name, rating=lambda s, i, q, rating=rating: rating[s])
        write_result(tmp_path / f"{name}.json", result)
    found, _, _ = analyse(tmp_path / "generous.json", tmp_path / "stingy.json", "--normalise")
    unit = np.sqrt(10 / 14)  # of fifteen ratings, five each of -1, 0, 1
    for score in found["scores"]:
        expected = {"zebra": 1, "okapi": 0, "lemur": -1}[score["system"]] / unit
        assert score["mean"] == pytest.approx(expected)
        assert score["deviation"] == pytest.approx(0, abs=1e-9)
    assert found["agreement"][0]["interval"] < 0.5  # of the ratings as they are


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["none.json"], "none.json is not there"),
        (["{key}"], "there is no result of test"),
        (["{result}", "--draws", "5"], "at least 100 are needed"),
        (["{result}", "--max-failed", "2"], "a share from 0 to 1"),
    ],
)
def test_bad_input_is_one_sentence(field, analyse, tmp_path, options, message):
    result = write_result(tmp_path / "r.json", result_of(field[1], 0, rating=honest))
    found, said, status = analyse(*(o.format(key=field[2], result=result) for o in options))
    assert status == 2
    assert found is None
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "content", ["{}", "[", '{"format": "ldm_jax listening test 1", "test": "x"}']
)
def test_what_is_no_key_is_said(tmp_path, monkeypatch, capsys, content):
    (tmp_path / "k.json").write_text(content)
    monkeypatch.setattr(
        "sys.argv", ["l", "analyse", str(tmp_path), "--key", str(tmp_path / "k.json")]
    )
    assert main() == 2
    assert "k.json is not the key of a listening test" in capsys.readouterr().err
