import pytest

from ldm_jax.data.sources.columns import (
    columns,
    fields,
    labels,
    plain_text,
    split_named,
    split_of_path,
)


@pytest.mark.parametrize(
    ("names", "files", "captions", "transcript"),
    [
        (("id", "Audio Path", "text"), ("Audio Path", "id"), ("text",), ""),
        (("file", "text", "caption"), ("file",), ("caption",), ""),
        (("file", "num_captions", "caption_quality", "caption_id"), ("file",), (), ""),
        (("file", "gpt_caption", "caption_2", "caption_1"), ("file",), ("gpt_caption", "caption_2", "caption_1"), ""),
        (("path", "client_id", "sentence"), ("path",), (), "sentence"),
        (("audio_filepath", "duration", "text"), ("audio_filepath",), (), "text"),
        (("path", "transcription", "description"), ("path",), ("description",), "transcription"),
    ],
)  # fmt: skip
def test_meaning_of_names(names, files, captions, transcript):
    meaning = columns(names)
    assert (meaning.files, meaning.captions, meaning.transcript) == (files, captions, transcript)


def test_spoken_may_be_told():
    assert columns(("file", "text"), spoken=True).transcript == "text"
    assert columns(("file", "text", "speaker"), spoken=False).captions == ("text",)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("/m/a,/m/b", ("/m/a", "/m/b")),
        ("dog; cat, big", ("dog", "cat, big")),
        ("['low quality', \"it's\"]", ("low quality", "it's")),
        (["a", " ", "b "], ("a", "b")),
        ({"slow": 0.5}, ("slow",)),
        (None, ()),
        (3, ("3",)),
    ],
)
def test_labels(cell, expected):
    assert labels(cell) == expected


def test_splits():
    assert [split_named(n) for n in ("train-00000-of-2", "VAL", "dev.clean", "test_other", "x", "")] == [
        "train", "validation", "validation", "test", None, None,
    ]  # fmt: skip
    assert split_of_path("a/Valid/x.wav") == "validation"
    assert split_of_path("test tones/train.wav") is None


def test_marks_of_punctuation():
    assert plain_text("YES <COMMA> NO<PERIOD> WHY <QUESTIONMARK>") == "YES, NO. WHY?"


def test_end_and_length():
    meaning = columns(("file", "start", "end", "duration"))
    assert fields({"file": "a", "start": "1.5", "end": "4", "duration": "9"}, meaning) == {
        "start": 1.5,
        "seconds": 2.5,
    }
    assert fields({"file": "a", "start": None, "end": "4", "duration": "9"}, meaning) == {}
    assert fields({"file": "a", "start": 2, "end": "", "duration": 9}, meaning) == {
        "start": 2.0,
        "seconds": 9.0,
    }
