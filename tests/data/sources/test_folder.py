import json
import os
import pathlib

import pytest

from ldm_jax.data.clip import Omission
from ldm_jax.data.sources import open_source
from tests.data.sources.making import clip, parted, put, reasons, sound


def folder(tmp_path, *sounds):
    root = tmp_path / "set"
    for name in sounds:
        put(root, name, sound(name.rpartition(".")[2].lower()))
    return root


def test_without_captions_every_format_that_libsndfile_reads(tmp_path):
    names = ["a.FLAC", "b.mp3", "sub/c.ogg", "sub/d.opus", "train/e.WAV"]
    root = folder(tmp_path, *names)
    source = open_source(root)
    assert (source.name, source.layout) == ("set", "folder")
    clips, omissions = parted(source)
    splits = [None, None, None, None, "train"]
    assert clips == [
        clip(root, n, origin="set", split=s) for n, s in zip(names, splits, strict=True)
    ]
    assert omissions == []


@pytest.mark.parametrize(
    ("table", "content"),
    [
        ("captions.csv", 'file_name,caption,split\nx/a.wav,"a dog, barking",val\nb.wav,rain,\n'),
        ("captions.csv", 'Path;Caption;Split\nx/a.wav;"a dog, barking";valid\nb.wav;rain;\n'),
        ("captions.tsv", 'audio\ttext\tsplit\nx/a.wav\ta dog, barking\tdev\nb.wav\train\t\n'),
        (
            "captions.jsonl",
            '{"wav": "x/a.wav", "captions": ["a dog, barking"], "split": "val"}\n\n'
            '{"wav": "b.wav", "captions": ["rain"]}\n',
        ),
        (
            "captions.json",
            '{"about": 1, "data": [{"path": "x/a.wav", "caption": "a dog, barking", "split": "val"},'
            ' {"path": "b.wav", "caption": "rain"}]}',
        ),
        (
            "captions.json",
            '{"x/a.wav": {"caption": "a dog, barking", "split": "val"}, "b.wav": "rain"}',
        ),
        ("captions.csv", "\ufefffile,caption,split\r\nx\\a.WAV,\"a dog, barking\",val\r\nb,rain,\r\n"),
    ],
)  # fmt: skip
def test_tables(tmp_path, table, content):
    root = folder(tmp_path, "x/a.wav", "b.wav")
    put(root, table, content)
    assert parted(open_source(root)) == (
        [
            clip(root, "x/a.wav", captions=("a dog, barking",), split="validation", origin="set"),
            clip(root, "b.wav", captions=("rain",), origin="set"),
        ],
        [],
    )


def test_table_without_header(tmp_path):
    root = folder(tmp_path, "a.wav", "b.wav")
    put(root, "t.csv", "a.wav,a dog\nb.wav,rain\n")
    assert [c.captions for c in parted(open_source(root))[0]] == [("a dog",), ("rain",)]


def test_utf_16_as_excel_writes_it(tmp_path):
    root = folder(tmp_path, "a.wav")
    put(root, "t.tsv", "file\tcaption\na.wav\tein Zug fährt ab\n".encode("utf-16"))
    assert parted(open_source(root))[0][0].captions == ("ein Zug fährt ab",)


def test_all_columns(tmp_path):
    root = folder(tmp_path, "a.opus")
    row = {
        "path": "a.opus",
        "caption_1": "one",
        "caption_2": "two ",
        "caption_3": "one",
        "caption_quality": 3,
        "transcript": "Activated <COMMA> sir <PERIOD>",
        "tags": {"slow": 0.4, "guitar": 0.1},
        "kind": "speech",
        "language": "en",
        "speaker": 7,
        "licence": "CC0",
        "source_package": "asterisk",
        "group": "g",
        "split": "test-clean",
        "start": 0.025,
        "duration": 0.05,
    }
    put(root, "manifest.jsonl", json.dumps(row))
    (found,), omissions = parted(open_source(root))
    assert omissions == []
    assert found == clip(
        root,
        "a.opus",
        name="a.opus@0.025",
        captions=("one", "two"),
        transcript="Activated, sir.",
        labels=("slow", "guitar"),
        kind="speech",
        language="en",
        speaker="7",
        licence="CC0",
        origin="asterisk",
        quality=3,
        split="test",
        group="g",
        start=0.025,
        seconds=0.05,
    )


def test_starts_count_unless_the_files_were_cut_there(tmp_path):
    root = folder(tmp_path, "a.wav", "b.wav")
    put(root, "long.wav", sound(seconds=3.0))
    put(root, "t.csv", "file,caption,start,end\nlong.wav,x,0,1\nlong.wav,y,1,2.5\n")
    clips, omissions = parted(open_source(root, layout="folder"))
    assert [(c.name, c.start, c.seconds, c.group) for c in clips] == [
        ("long.wav", 0.0, 1.0, "long.wav"),
        ("long.wav@1", 1.0, 1.5, "long.wav"),
    ]
    assert [o.name for o in omissions] == ["a.wav", "b.wav"]

    put(root, "t.csv", "file,caption,start,end\na.wav,x,0,10\nb.wav,y,30,40\n")
    clips, _ = parted(open_source(root))
    assert [(c.name, c.start, c.seconds, c.group) for c in clips] == [
        ("a.wav", 0.0, None, ""),
        ("b.wav", 0.0, None, ""),
    ]


def test_rows_about_one_file_are_one_clip_in_the_stricter_split(tmp_path):
    root = folder(tmp_path, "a.wav")
    put(root, "t.csv", "file,caption,split\na.wav,x,train\na.wav,y,test\na.wav,x,train\n")
    clips, omissions = parted(open_source(root))
    assert clips == [clip(root, "a.wav", captions=("x", "y"), split="test", origin="set")]
    assert omissions == []


def test_split_of_a_table_by_its_name(tmp_path):
    root = folder(tmp_path, "a.wav", "b.wav")
    put(root, "my_val.csv", "file,caption\na.wav,x\n")
    put(root, "train.csv", "file,caption\nb.wav,y\n")
    assert [(c.name, c.split) for c in open_source(root)] == [
        ("a.wav", "validation"),
        ("b.wav", "train"),
    ]


def test_texts_beside(tmp_path):
    root = folder(tmp_path, "a.wav", "b.flac", "c.wav", "d.wav", "test/e.wav")
    put(root, "a.txt", "a dog\n\n  barks \n")
    put(root, "b.flac.json", '{"caption": "rain", "labels": "a;b", "start": 3}')
    put(root, "c.json", '["one", "two"]')
    put(root, "d.txt", b"caf\xe9")
    put(root, "test/e.json", "{")
    clips, omissions = parted(open_source(root))
    assert clips == [
        clip(root, "a.wav", captions=("a dog", "barks"), origin="set"),
        clip(root, "b.flac", captions=("rain",), labels=("a", "b"), origin="set"),
        clip(root, "c.wav", captions=("one", "two"), origin="set"),
        clip(root, "d.wav", origin="set"),
        clip(root, "test/e.wav", split="test", origin="set"),
    ]
    assert reasons(omissions)["d.txt"] == "not UTF-8 (byte 0xe9)"
    assert reasons(omissions)["e.json"].startswith("not JSON")
    assert len(omissions) == 2


def test_spoken_texts(tmp_path):
    root = folder(tmp_path, "a.wav", "b.wav")
    put(root, "a.txt", "Good\nmorning.")
    put(root, "t.jsonl", '{"audio_filepath": "/data/set/b.wav", "text": "Bye.", "duration": 0.1}')
    clips, _ = parted(open_source(root, spoken=True))
    assert {c.name: (c.transcript, c.captions, c.seconds) for c in clips} == {
        "a.wav": ("Good morning.", (), None),
        "b.wav": ("Bye.", (), None),
    }
    told = {c.name: (c.transcript, c.captions) for c in parted(open_source(root))[0]}
    assert told == {"a.wav": ("", ("Good", "morning.")), "b.wav": ("Bye.", ())}


@pytest.mark.parametrize(
    ("name", "names", "caption", "quality"),
    [
        ("dog_barking-03.wav", "file", ("dog barking",), 2),
        ("x/DogBarking_take2.wav", "file", ("dog barking",), 2),
        ("train/animals/dog/bark 1.wav", "path", ("animals dog bark",), 2),
        ("rain.wav", "file", ("rain",), 1),
        ("Footstep_Grass_Running-d87110.ogg", "file", ("footstep grass running",), 2),
        ("break_glass.3-331d52.wav", "file", ("break glass",), 2),
        ("don't stop2.wav", "file", ("don't stop",), 2),
        ("0001-b.wav", "file", (), 0),
        ("dog_barking.wav", "none", (), 0),
    ],
)
def test_captions_from_names(tmp_path, name, names, caption, quality):
    root = folder(tmp_path, name)
    (found,) = open_source(root, names=names)
    assert (found.captions, found.quality) == (caption, quality)


def test_what_a_table_misses_and_what_misses_a_table(tmp_path):
    root = folder(tmp_path, "a.wav", "left.wav", "film.mp4", "x/twice.wav", "y/twice.wav")
    put(
        root,
        "t.csv",
        "file,caption\na.wav,x\ngone.wav,x\n,x\ntwice.wav,x\nfilm.mp4,x\nz/a.wav,x\n"
        "https://a.b/c.wav,x\n",
    )
    clips, omissions = parted(open_source(root))
    assert [c.name for c in clips] == ["a.wav"]
    assert reasons(omissions) == {
        "gone.wav": "t.csv, line 3: is not there",
        "t.csv, line 4": "names no file",
        "twice.wav": "t.csv, line 5: could be x/twice.wav or y/twice.wav",
        "film.mp4": "libsndfile does not read .mp4: convert it, as to .flac or .wav",
        "https://a.b/c.wav": "t.csv, line 8: is not there",
        "left.wav": "no row of a table names it",
        "x/twice.wav": "no row of a table names it",
        "y/twice.wav": "no row of a table names it",
    }


def test_captions_of_every_kind_of_trouble(tmp_path):
    root = folder(tmp_path, *(f"{name}.wav" for name in "abcdefgh"))
    put(
        root,
        "t.csv",
        b"file,caption\na.wav,\nb.wav," + b"long " * 2000 + b"\nc.wav,caf\xe9\n"
        b'd.wav,too,many\ne.wav\n"f.wav,never closed\ng.wav,"say ""hi""\nto me"\nh.wav,x\n',
    )
    clips, omissions = parted(open_source(root))
    assert {c.name: c.captions for c in clips} == {
        "a.wav": (),
        "b.wav": ("long " * 1999 + "long",),
        "g.wav": ('say "hi"\nto me',),
        "h.wav": ("x",),
    }
    told = reasons(omissions)
    assert told["t.csv, line 4"] == "not UTF-8 (byte 0xe9)"
    assert told["t.csv, line 5"] == "3 cells where the header has 2"
    assert told["t.csv, line 6"] == "1 cells where the header has 2"
    assert told["t.csv, line 7"].startswith("not CSV")
    assert {o.name for o in omissions} - set(told) == set()
    assert {name for name in told if name.endswith(".wav")} == {"c.wav", "d.wav", "e.wav", "f.wav"}


def test_broken_json_among_good_tables(tmp_path):
    root = folder(tmp_path, "a.wav", "b.wav", "c.wav", "d.wav")
    put(root, "1.json", '[{"file": "a.wav", "caption": "x"}, {"file": "b.wav", "capt')
    put(root, "2.jsonl", '{"file": "c.wav", "caption": "y"}\n{"file": \n[1]\n{"file": "d.wav"}\n')
    put(root, "3.csv", "")
    put(root, "4.csv", "colour,shape\nred,round\n")
    clips, omissions = parted(open_source(root))
    assert [c.name for c in clips] == ["a.wav", "c.wav", "d.wav"]
    told = reasons(omissions)
    assert "after 1 items that were read" in told["1.json"]
    assert told["2.jsonl, line 2"].startswith("not JSON")
    assert told["2.jsonl, line 3"] == "not an object but [1]"
    assert told["3.csv"] == "has no header that can be read: empty, or no table"
    assert told["4.csv"] == "no column names files; it has colour, shape"
    assert told["b.wav"] == "no row of a table names it"


def test_half_characters(tmp_path):
    root = folder(tmp_path, "a.wav", "b.wav")
    put(
        root,
        "t.jsonl",
        '{"file": "a.wav", "caption": "\\ud83d"}\n{"file": "b.wav", "caption": "\\ud83d\\ude00"}\n',
    )
    clips, omissions = parted(open_source(root))
    assert [c.captions for c in clips] == [("\U0001f600",)]
    assert reasons(omissions) == {"a.wav": "its text has half a character, \\ud83d"}


def test_times_that_are_none(tmp_path):
    root = folder(tmp_path, "a.wav", "b.wav", "c.wav")
    put(root, "t.csv", "file,start,end\na.wav,soon,1\nb.wav,-1,1\nc.wav,2,1\n")
    told = reasons(parted(open_source(root))[1])
    assert told["t.csv, line 2"] == "start is 'soon', not a number of seconds"
    assert told["t.csv, line 3"] == "start is '-1', not a number of seconds"
    assert told["t.csv, line 4"] == "-1 s long"


def test_names_that_are_hard(tmp_path):
    names = ["a b.wav", "ünï.wav", "new\nline.wav", "back\\slash.wav", "q'uote\".wav", "-dash.wav"]
    root = folder(tmp_path, *names)
    raw = os.fsencode(root) + b"/caf\xe9.wav"
    with open(raw, "wb") as file:
        file.write(sound())
    rows = "".join(
        json.dumps({"file": name, "caption": str(i)}) + "\n" for i, name in enumerate(names)
    )
    put(root, "t.jsonl", rows)
    clips, omissions = parted(open_source(root))
    assert {c.name: c.captions for c in clips} == {n: (str(i),) for i, n in enumerate(names)}
    assert [o.name for o in omissions] == ["caf\ufffd.wav"]
    for found in clips:
        with found.audio.open() as stream:
            assert stream.read() == sound()


def test_accents_written_in_two_ways(tmp_path):
    root = folder(tmp_path, "cafe\u0301.wav")
    put(root, "t.csv", "file,caption\ncaf\u00e9.wav,x\n")
    (found,) = open_source(root)
    assert found.captions == ("x",)


def test_audio_and_table_apart(tmp_path):
    root = folder(tmp_path, "deep/a.wav")
    table = put(tmp_path, "elsewhere/t.csv", "file,caption\nother/place/deep/a.wav,x\n")
    expected = [clip(root, "deep/a.wav", captions=("x",), origin="set")]
    assert list(open_source(root, captions=table)) == expected
    assert list(open_source(root, captions=table.parent)) == expected
    (found,) = open_source(table, audio=root)
    assert (found.name, found.captions, found.origin) == ("deep/a.wav", ("x",), "t")
    absolute = put(
        tmp_path, "third/t.csv", f"file,caption\n{root}/deep/a.wav,x\n../set/deep/a.wav,y"
    )
    clips, _ = parted(open_source(absolute))
    assert [pathlib.Path(c.audio.path).resolve() for c in clips] == [root / "deep/a.wav"] * 2


def test_one_file(tmp_path):
    root = folder(tmp_path, "a.wav", "b.wav")
    assert list(open_source(root / "a.wav")) == [clip(root, "a.wav", origin="a")]


def test_omissions_say_something(tmp_path):
    root = folder(tmp_path, "a.m4a".replace("m4a", "wav"))
    os.rename(root / "a.wav", root / "a.m4a")
    assert list(open_source(root)) == [
        Omission(
            name="a.m4a", reason="libsndfile does not read .m4a: convert it, as to .flac or .wav"
        )
    ]
