import pytest

from ldm_jax.data.clip import Clip
from ldm_jax.data.sources import layouts, open_source
from tests.data.sources.making import put, sound


def test_unknown_layout_lists_those_known(tmp_path):
    with pytest.raises(
        ValueError, match=r"'kaldi' is no layout; known are tfds, audioldm, .*, folder$"
    ):
        open_source(tmp_path, layout="kaldi")


def test_layouts_have_a_line_each():
    described = layouts()
    assert list(described)[-1] == "folder"
    assert set(described) == {
        "tfds", "audioldm", "gigaspeech", "fma", "clotho", "musiccaps", "audiocaps", "wavcaps",
        "vggsound", "audioset", "msd", "ljspeech", "parquet", "webdataset", "folder",
    }  # fmt: skip
    assert all(line and "\n" not in line for line in described.values())


def test_folder_without_audio(tmp_path):
    put(tmp_path, "readme.txt", "nothing")
    with pytest.raises(ValueError, match=f"{tmp_path} has nothing that sounds"):
        open_source(tmp_path)


def test_options_that_lead_nowhere(tmp_path):
    put(tmp_path, "a.wav", sound())
    with pytest.raises(ValueError, match=r"none.csv is not there"):
        open_source(tmp_path, captions=tmp_path / "none.csv")
    table = put(tmp_path, "t.csv", "colour\nred\n")
    with pytest.raises(
        ValueError, match=r"the captions given tell of no file: .*t.csv no column names files"
    ):
        list(open_source(tmp_path, captions=table))


def test_asked_for_layout_wins(tmp_path):
    put(tmp_path, "metadata.csv", "a|hello\n")
    put(tmp_path, "wavs/a.wav", sound())
    assert open_source(tmp_path).layout == "ljspeech"
    (found,) = open_source(
        tmp_path, layout="folder", captions=put(tmp_path, "t.csv", "file,caption\na,x\n")
    )
    assert (found.transcript, found.captions) == ("", ("x",))


def test_split_and_names_of_its_own(tmp_path):
    put(tmp_path, "long.wav", sound(seconds=2.0))
    put(
        tmp_path,
        "t.csv",
        "file,caption,start,seconds,split\nlong.wav,a,0.5,1,train\nlong.wav,b,0.5,0.5,\nlong.wav,c,0.5,0.25,\n",
    )
    found = list(open_source(tmp_path, split="test"))
    assert [c.name for c in found] == ["long.wav@0.5", "long.wav@0.5~2", "long.wav@0.5~3"]
    assert {c.split for c in found if isinstance(c, Clip)} == {"test"}
