"""`make` on what people give it."""

import json

import numpy as np
import pytest
import soundfile

from ldm_jax.eval.listening.__main__ import main
from tests.eval.listening.material import RATE, arguments_of, tone, write_systems


@pytest.fixture
def make(tmp_path, monkeypatch, capsys):
    def run(*options):
        monkeypatch.setattr(
            "sys.argv", ["l", "make", *map(str, options), "--out", str(tmp_path / "out" / "t.html")]
        )
        status = main()
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.fixture
def clips(tmp_path):
    return write_systems(tmp_path / "clips")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ["--questions", "ovl,fun"],
            "the questions are 'ovl,fun'; expected are some of ovl, rel, mos",
        ),
        (["--questions", "mushra"], "mushra needs webMUSHRA"),
        (["--clips", "99"], "a rater is to hear 99 clips, but 5 items of 3 systems make 15"),
        (["--items", "6"], "--items is 6, but 5 items are in all systems"),
        (["--checks", "magic"], "--checks has 'magic'"),
        (["--listen", "0"], "--listen is 0.0; a part above 0 and up to 1 is expected"),
        (["--loudness", "3"], "--loudness is 3.0; -60 to -10 LUFS are expected"),
        (["--post", "ftp://x"], "--post is ftp://x"),
        (["--system", "zebra=again"], "--system zebra is given twice"),
        (["--system", "folder"], "--system is 'folder'; NAME=FOLDER is expected"),
        (["--system", "x=nowhere"], "nowhere is not there"),
        (["--intro", "nothing.txt"], "nothing.txt is not there"),
        (["--webmushra", "w", "--questions", "mushra"], "give --reference NAME"),
        (
            ["--webmushra", "w", "--questions", "mushra", "--reference", "lion"],
            "--reference is 'lion'; the systems are",
        ),
    ],
)
def test_bad_options_are_one_sentence_and_no_file(make, clips, tmp_path, change, message):
    status, out, err = make(*arguments_of(*clips), *change)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1
    assert out == ""
    assert not (tmp_path / "out").exists()


def broken(folder, how):
    path = folder / "clip2.wav"
    if how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("not a sound")
    elif how == "three channels":
        soundfile.write(path, tone(200, 1, channels=3), RATE)
    elif how == "not finite":
        soundfile.write(path, np.array([0.1, np.nan, 0.2]), RATE, subtype="FLOAT")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("empty", "clip2.wav: the file is empty"),
        ("text", "clip2.wav: "),
        ("three channels", "clip2.wav has 3 channels; one or two are expected"),
        ("not finite", "clip2.wav: "),
    ],
)
def test_broken_audio_is_one_sentence_and_no_file(make, clips, tmp_path, how, message):
    folders, table = clips
    broken(folders["okapi"], how)
    status, _, err = make(*arguments_of(folders, table))
    assert status == 2
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_no_caption_where_one_is_asked_about(make, clips):
    folders, _ = clips
    given = [part for name, folder in folders.items() for part in ("--system", f"{name}={folder}")]
    status, _, err = make(*given)
    assert status == 2
    assert "clip0 has no caption, and rel asks how well it is met: give --captions TABLE" in err
    assert make(*given, "--questions", "ovl")[0] == 0


def test_systems_without_a_common_clip(make, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / f"{name}.wav", tone(200, 1), RATE)
    status, _, err = make(
        "--system", f"a={tmp_path / 'a'}", "--system", f"b={tmp_path / 'b'}", "--questions", "ovl"
    )
    assert status == 2
    assert "no clip is in all systems" in err
    assert "a has 'a', b has 'b'" in err


def test_a_key_that_results_wait_for_is_not_overwritten(make, clips, tmp_path):
    given = arguments_of(*clips)
    assert make(*given)[0] == 0
    key = (tmp_path / "out" / "t.key.json").read_bytes()
    assert make(*given)[0] == 0  # the same test again
    assert (tmp_path / "out" / "t.key.json").read_bytes() == key
    status, _, err = make(*given, "--seed", "1")
    assert status == 2
    assert f"is the key of another test ({json.loads(key)['test']}), whose results need it" in err
    assert (tmp_path / "out" / "t.key.json").read_bytes() == key
    assert make(*given, "--seed", "1", "--overwrite")[0] == 0
    assert (tmp_path / "out" / "t.key.json").read_bytes() != key


def test_intro_is_paragraphs(make, clips, tmp_path):
    (tmp_path / "intro.txt").write_text(
        "Hello,\nyou there.\n\n\nBe kind & <brave>.\n", encoding="utf-8"
    )
    assert make(*arguments_of(*clips), "--intro", tmp_path / "intro.txt")[0] == 0
    page = (tmp_path / "out" / "t.html").read_text()
    assert '"intro":["Hello, you there.","Be kind & \\u003cbrave>."]' in page
