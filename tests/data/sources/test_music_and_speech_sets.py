"""FMA, the Million Song Dataset, LJSpeech and GigaSpeech."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from ldm_jax.data.sources import open_source
from tests.data.sources.making import clip, parted, put, reasons, sound

TRACKS = (
    ",album,artist,artist,set,set,track,track,track\n"
    ",comments,id,name,split,subset,genre_top,genres,license\n"
    "track_id,,,,,,,,\n"
)


def test_fma(tmp_path):
    put(
        tmp_path,
        "fma_metadata/tracks.csv",
        TRACKS
        + '2,0,1,"AWOL, ""the"" crew",training,small,Hip-Hop,[21],by-nc-sa\n'
        + '5,"two\nlines",1,AWOL,test,small,,"[21, 10]",by\n'
        + "10,0,6,Kurt,validation,small,Pop,[10],\n20,0,4,N,training,large,,[],\n1,2\n",
    )
    put(
        tmp_path,
        "fma_metadata/genres.csv",
        "genre_id,#tracks,parent,title,top_level\n21,1,0,Hip-Hop,21\n10,1,0,Pop,10\n",
    )
    put(tmp_path, "fma_small/000/000002.mp3", sound("mp3"))
    put(tmp_path, "fma_small/000/000005.mp3", sound("mp3"))
    put(tmp_path, "fma_small/000/000099.mp3", sound("mp3"))
    source = open_source(tmp_path)
    assert source.layout == "fma"
    clips, omissions = parted(source)
    common = {"kind": "music", "group": "artist 1", "origin": "FMA"}
    assert clips == [
        clip(
            tmp_path, "fma_small/000/000002.mp3", labels=("Hip-Hop",), licence="by-nc-sa",
            split="train", **common,
        ),
        clip(
            tmp_path, "fma_small/000/000005.mp3", labels=("Hip-Hop", "Pop"), licence="by",
            split="test", **common,
        ),
    ]  # fmt: skip
    assert reasons(omissions) == {
        "000010": "tracks.csv, line 7: is not there",  # 20 is of a larger size
        "tracks.csv, line 9": "2 cells of 9, or no number",
        "fma_small/000/000099.mp3": "no row of tracks.csv names it",
    }


ONE, TWO, THREE = "TRSAGNY128F425391E", "TRIHXPZ128F1466744", "TRAAAAA000000000AB"


def test_msd_with_ecals(tmp_path):
    annotation = {
        ONE: {
            "tag": ["punk", "brash"],
            "artist_name": "Youth Brigade",
            "track_id": ONE,
            "year": 1984,
        },
        TWO: {"tag": [], "artist_name": "AD", "track_id": TWO},
        THREE: {"tag": ["gone"], "track_id": THREE},
    }
    put(tmp_path, "ecals_annotation/annotation.json", json.dumps(annotation))
    put(
        tmp_path,
        "ecals_annotation/ecals_track_split.json",
        json.dumps({"train_track": [], "student_track": [ONE], "test_track": [TWO]}),
    )
    put(tmp_path, f"audio/S/A/G/{ONE}.mp3", sound("mp3"))
    put(tmp_path, f"audio/I/H/X/{TWO}.mp3", sound("mp3"))
    source = open_source(tmp_path)
    assert source.layout == "msd"
    clips, omissions = parted(source)
    common = {"kind": "music", "quality": 2, "origin": "Million Song Dataset"}
    assert clips == [
        clip(
            tmp_path, f"audio/S/A/G/{ONE}.mp3", labels=("punk", "brash"), split="train",
            group="Youth Brigade", **common,
        ),
        clip(tmp_path, f"audio/I/H/X/{TWO}.mp3", split="test", group="AD", **common),
    ]  # fmt: skip
    assert reasons(omissions) == {THREE: f"annotation.json, {THREE}: is not there"}
    put(tmp_path, "ecals_annotation/ecals_track_split.json", '{"train_track": ["')
    with pytest.raises(
        ValueError, match=r"ecals_track_split.json, without which .* would mix: not JSON"
    ):
        list(open_source(tmp_path))


@pytest.mark.parametrize("kind", ["parquet", "csv", "json"])
def test_msd_with_lp_musiccaps(tmp_path, kind):
    row = {
        "track_id": ONE,
        "artist_name": "Youth Brigade",
        "tag": ["punk"] if kind != "csv" else "punk",
        "caption_writing": "Loud.",
        "caption_summary": "Short.",
        "caption_attribute_prediction": "Guessed.",
        "path": "3/0/303545.clip.mp3",
    }
    name = f"test-00000-of-00001.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / name)
    elif kind == "csv":
        put(tmp_path, name, ",".join(row) + "\n" + ",".join(map(str, row.values())) + "\n")
    else:
        put(tmp_path, name, json.dumps([row]))
    put(tmp_path, "audio/3/0/303545.clip.mp3", sound("mp3"))
    source = open_source(tmp_path)
    assert source.layout == "msd"
    assert parted(source) == (
        [
            clip(
                tmp_path, "audio/3/0/303545.clip.mp3", captions=("Loud.", "Short."),
                labels=("punk",), kind="music", quality=2, split="test", group="Youth Brigade",
                origin="Million Song Dataset",
            )
        ],
        [],
    )  # fmt: skip


def test_ljspeech(tmp_path):
    put(
        tmp_path,
        "metadata.csv",
        'LJ001-0001|"Printing" in 1868|"Printing" in eighteen sixty-eight\n'
        "LJ001-0002|in being modern.|\nLJ002-0001|gone|gone\nnonsense\n",
    )
    put(tmp_path, "wavs/LJ001-0001.wav", sound())
    put(tmp_path, "wavs/LJ001-0002.wav", sound())
    source = open_source(tmp_path)
    assert source.layout == "ljspeech"
    clips, omissions = parted(source)
    common = {
        "kind": "speech",
        "language": "en",
        "speaker": "LJ",
        "licence": "public domain",
        "group": "LJ001",
        "origin": tmp_path.name,
    }
    assert clips == [
        clip(
            tmp_path, "wavs/LJ001-0001.wav",
            transcript='"Printing" in eighteen sixty-eight', **common,
        ),
        clip(tmp_path, "wavs/LJ001-0002.wav", transcript="in being modern.", **common),
    ]  # fmt: skip
    assert reasons(omissions) == {
        "LJ002-0001": "metadata.csv, line 3: is not there",
        "metadata.csv, line 4": "not a name, a bar and a text",
    }


def segment(number, begin, end, text, subsets, speaker="N/A"):
    return {
        "sid": f"YOU1_S{number:07d}",
        "speaker": speaker,
        "begin_time": begin,
        "end_time": end,
        "subsets": [f"{{{name}}}" for name in subsets],
        "text_tn": text,
    }


def gigaspeech(root, suffix="opus"):
    segments = [
        segment(1, 0.0, 1.25, "HELLO <COMMA> I'M HERE <PERIOD>", ["XL", "L", "M"]),
        segment(2, 1.25, 2.0, "<MUSIC>", ["XL"]),
        segment(3, 2.0, 2.5, "WHAT <QUESTIONMARK>", ["XL"], "SPK1"),
        segment(4, 2.5, 2.5, "NOTHING", ["XL"]),
        segment(5, 2.5, 2.75, "<PERIOD>", ["XL"]),
        {"sid": "YOU1_S0000006", "subsets": ["{XL}"]},
    ]
    audios = [
        {"aid": "YOU1", "path": "audio/youtube/P0000/YOU1.opus", "segments": segments},
        {
            "aid": "POD2",
            "path": "audio/podcast/P0001/POD2.opus",
            "segments": [segment(1, 0, 1, "YES", ["DEV"]) | {"sid": "POD2_S1"}],
        },
        {"aid": "POD3", "path": "audio/podcast/P0001/POD3.opus", "segments": [segment(1, 0, 1, "X", ["TEST"])]},
        {"aid": "POD4"},
    ]  # fmt: skip
    put(
        root,
        "GigaSpeech.json",
        json.dumps({"dataset": "GigaSpeech", "language": "EN", "audios": audios}),
    )
    put(root, f"audio/youtube/P0000/YOU1.{suffix}", sound(suffix, seconds=3.0))
    put(root, f"audio/podcast/P0001/POD2.{suffix}", sound(suffix, seconds=1.0))
    return root


@pytest.mark.parametrize("suffix", ["opus", "wav"])
def test_gigaspeech(tmp_path, suffix):
    root = gigaspeech(tmp_path, suffix)
    source = open_source(root)
    assert source.layout == "gigaspeech"
    clips, omissions = parted(source)
    common = {"kind": "speech", "language": "en", "origin": "GigaSpeech"}
    first, second = f"audio/youtube/P0000/YOU1.{suffix}", f"audio/podcast/P0001/POD2.{suffix}"
    assert clips == [
        clip(
            root, first, name="YOU1_S0000001", transcript="hello, i'm here.", start=0.0,
            seconds=1.25, split="train", group="YOU1", **common,
        ),
        clip(
            root, first, name="YOU1_S0000003", transcript="what?", start=2.0, seconds=0.5,
            split="train", group="YOU1", speaker="SPK1", **common,
        ),
        clip(
            root, second, name="POD2_S1", transcript="yes", start=0.0, seconds=1.0,
            split="validation", group="POD2", **common,
        ),
    ]  # fmt: skip
    told = reasons(omissions)
    assert told["YOU1_S0000002"] == "no speech but <MUSIC>"
    assert told["YOU1_S0000004"] == "from 2.5 s to 2.5 s"
    assert told["YOU1_S0000005"] == "nothing is said"
    assert told["YOU1"].startswith("not a segment: ")
    assert told["audio/podcast/P0001/POD3.opus"] == "is not there; it has 1 segments"
    assert told["GigaSpeech.json"].startswith("not a recording with segments")
    assert len(omissions) == 6


def test_gigaspeech_in_part_and_broken(tmp_path):
    root = gigaspeech(tmp_path)
    assert [c.name for c in parted(open_source(root, subset="m"))[0]] == ["YOU1_S0000001"]
    with pytest.raises(ValueError, match="'XXL' is not one of GigaSpeech's XS"):
        list(open_source(root, subset="XXL"))
    content = (root / "GigaSpeech.json").read_text()
    put(root, "GigaSpeech.json", content[: content.index('"POD2"')])
    clips, omissions = parted(open_source(root))
    assert len(clips) == 2
    assert "not JSON" in reasons(omissions)["GigaSpeech.json"]


def test_gigaspeech_cut_up(tmp_path):
    put(
        tmp_path,
        "data/metadata/xs_metadata/xs_chunks_0000_metadata.csv",
        "sid,speaker,begin_time,end_time,title,text_tn\n"
        "POD1_S0000008,N/A,159.0,161.0,Title,DOUGLAS MCGRAY IS <PERIOD>\n"
        "POD1_S0000009,N/A,161.0,162.0,Title,<SIL>\n",
    )
    put(tmp_path, "data/audio/xs_files/xs_chunks_0000/POD1_S0000008.wav", sound())
    clips, omissions = parted(open_source(tmp_path))
    assert clips == [
        clip(
            tmp_path, "data/audio/xs_files/xs_chunks_0000/POD1_S0000008.wav", name="POD1_S0000008",
            transcript="douglas mcgray is.", kind="speech", language="en", split="train",
            group="POD1", origin="GigaSpeech",
        )
    ]  # fmt: skip
    assert reasons(omissions) == {"POD1_S0000009": "no speech but <SIL>"}
