import json

import pytest

from ldm_jax.eval.clips import read_side
from tests.eval.clips.sounds import lines, names, sound, told


def test_kinds_of_tables(tmp_path):
    sound(tmp_path / "gen/a.wav")
    sound(tmp_path / "gen/b.wav")
    rows = [("gen/a.wav", "a, dog"), ("gen/b.wav", 'a "cat"')]
    (tmp_path / "m.csv").write_text('audio,caption\ngen/a.wav,"a, dog"\ngen/b.wav,"a ""cat"""\n')
    (tmp_path / "m.tsv").write_text('file\tcaption\ngen/a.wav\ta, dog\ngen/b.wav\ta "cat"\n')
    lines(tmp_path / "m.jsonl", *({"path": path, "captions": [text]} for path, text in rows))
    (tmp_path / "m.json").write_text(
        json.dumps([{"generated": path, "caption": text, "colour": 3} for path, text in rows])
    )
    for kind in ("csv", "tsv", "jsonl", "json"):
        side = read_side(tmp_path / f"m.{kind}")
        assert names(side.clips) == ["a", "b"], kind
        assert [clip.captions for clip in side.clips] == [("a, dog",), ('a "cat"',)], kind
        assert side.problems == ()
        assert side.reference is None


def test_references_names_and_transcripts(tmp_path):
    for path in ("out/0.wav", "out/1.wav", "real/x.flac", "real/y.wav"):
        sound(tmp_path / path)
    table = lines(
        tmp_path / "m.jsonl",
        {"name": "rain.wav", "file": "out/0.wav", "reference": "real/x.flac", "caption": "rain"},
        {"name": "talk", "file": "out/1.wav", "reference": "real/y.wav", "transcript": "hello"},
    )
    side = read_side(table)
    assert names(side.clips) == ["rain", "talk"]
    assert side.clips[1].transcript == "hello"
    assert side.reference is not None
    assert [(clip.name, clip.path.name) for clip in side.reference.clips] == [
        ("rain", "x.flac"),
        ("talk", "y.wav"),
    ]
    assert side.reference.clips[0].captions == ("rain",)


def test_bad_lines_are_named(tmp_path):
    sound(tmp_path / "a.wav")
    sound(tmp_path / "b.wav")
    (tmp_path / "m.csv").write_text(
        "path,caption,reference,start\n"
        "a.wav,one,none.wav,\n"
        "gone.wav,two,,\n"
        ",three,,\n"
        "b.wav,four\n"
        "b.wav,five,,soon\n"
        "b.wav,six,,\n"
    )
    side = read_side(tmp_path / "m.csv")
    assert names(side.clips) == ["a", "b"]
    assert side.reference is None
    assert told(side.problems) == [
        ("m.csv, line 2", False),
        ("m.csv, line 3", True),
        ("m.csv, line 4", True),
        ("m.csv, line 5", True),
        ("m.csv, line 6", True),
    ]
    whys = [problem.why for problem in side.problems]
    assert whys[0] == "its reference none.wav is not there; the clip is used without"
    assert whys[1:3] == ["gone.wav is not there", "names no file"]
    assert whys[3] == "2 cells where the header has 4"
    assert "start is 'soon'" in whys[4]


def test_lines_about_one_file_are_one_clip(tmp_path):
    sound(tmp_path / "a.wav", seconds=2.0)
    sound(tmp_path / "b.wav")
    table = lines(
        tmp_path / "m.jsonl",
        {"path": "a.wav", "caption": "one", "start": 0.0, "duration": 1.0},
        {"path": "a.wav", "caption": "two", "start": 0.0, "duration": 1.0},
        {"path": "a.wav", "caption": "three", "start": 1.0, "duration": 1.0},
        {"path": "b.wav", "caption": "four", "name": "a"},
    )
    side = read_side(table)
    assert [(clip.name, clip.captions, clip.start, clip.seconds) for clip in side.clips] == [
        ("a", ("one", "two"), 0.0, 1.0),
        ("a@1", ("three",), 1.0, 1.0),
    ]
    assert told(side.problems) == [("m.jsonl, line 4", True)]
    assert "the name a is taken by" in side.problems[0].why


def test_starts_in_files_that_were_cut_do_not_count(tmp_path):
    sound(tmp_path / "a.wav", seconds=1.0)
    table = lines(tmp_path / "m.jsonl", {"path": "a.wav", "start": 30, "duration": 1})
    (clip,) = read_side(table).clips
    assert (clip.name, clip.start, clip.seconds) == ("a", 0.0, None)


def test_paths(tmp_path, monkeypatch):
    sound(tmp_path / "sets/one/a.wav")
    sound(tmp_path / "sets/two/b.wav")
    (tmp_path / "lists").mkdir()
    table = lines(
        tmp_path / "lists/m.jsonl",
        {"path": "..\\sets\\one\\a.wav"},
        {"path": str(tmp_path / "sets/two/b.wav")},
        {"path": "../sets/one"},
        {"path": "../sets/one/a"},
        {"path": "x\0y"},
    )
    side = read_side(table)
    assert names(side.clips) == ["one/a", "two/b"]
    assert told(side.problems) == [(f"m.jsonl, line {n}", True) for n in (3, 4, 5)]
    assert side.problems[0].why == "../sets/one is a folder"
    monkeypatch.chdir(tmp_path / "lists")
    assert names(read_side("m.jsonl").clips) == ["one/a", "two/b"]


def test_tables_that_are_no_manifests(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match=r"empty\.csv has no row that can be read: it is empty"):
        read_side(tmp_path / "empty.csv")
    (tmp_path / "cut.json").write_text('[{"path": "a.wav"')
    with pytest.raises(ValueError, match=r"cut\.json has no row that can be read: .*after 0 items"):
        read_side(tmp_path / "cut.json")
    (tmp_path / "other.csv").write_text("colour,size\nred,3\n")
    with pytest.raises(ValueError, match=r"names no files: its columns are colour, size"):
        read_side(tmp_path / "other.csv")
    lines(tmp_path / "gone.jsonl", {"path": "gone.wav"})
    with pytest.raises(ValueError, match=r"no clip that can be read: gone\.jsonl, line 1, gone"):
        read_side(tmp_path / "gone.jsonl")


def test_a_list_of_references(tmp_path):
    sound(tmp_path / "real/a.wav")
    (tmp_path / "m.csv").write_text("name,reference,caption\ndog,real/a.wav,a dog\n")
    side = read_side(tmp_path / "m.csv")
    assert [(clip.path.name, clip.captions) for clip in side.clips] == [("a.wav", ("a dog",))]
    assert side.reference is None
