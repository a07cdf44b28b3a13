"""Error rates by hand, and normalisers."""

import numpy as np
import pytest

from ldm_jax.eval.metrics.state import State
from ldm_jax.eval.metrics.words import (
    NORMALISERS,
    ErrorRate,
    basic,
    error_counts,
    unchanged,
    whisper_english,
)


def rate(*pairs: tuple[str, str], **settings: object) -> dict[str, float]:
    rows = {str(i): error_counts(*pair, **settings) for i, pair in enumerate(pairs)}
    estimate = ErrorRate().compute(State(rows, {}))
    return {"rate": estimate.value, **estimate.details}


@pytest.mark.parametrize(
    ("spoken", "heard", "expected"),
    [
        ("the cat sat", "the cat sat", (0, 0, 0, 3)),
        ("the cat sat", "the bat sat down", (1, 0, 1, 3)),
        ("the cat sat", "", (0, 3, 0, 3)),
        ("", "hello there", (0, 0, 2, 0)),
        ("", "", (0, 0, 0, 0)),
        ("a b c d", "b c d e", (0, 1, 1, 4)),  # not four substitutions
        ("The CAT, sat!", "the cat sat.", (0, 0, 0, 3)),
    ],
)
def test_counts_of_words(spoken, heard, expected):
    np.testing.assert_array_equal(error_counts(spoken, heard), [expected])


def test_counts_of_characters():
    np.testing.assert_array_equal(
        error_counts("kitten", "sitting", unit="character"), [[2, 0, 1, 6]]
    )
    np.testing.assert_array_equal(error_counts("a b", "ab", unit="character"), [[0, 1, 0, 3]])


def test_rates_are_pooled():
    """One error in one word and none in nine: 0.1, where the mean of rates is 0.5."""
    found = rate(("no", "yes"), ("one two three four five six seven eight nine",) * 2)
    assert found == {
        "rate": 0.1,
        "substitutions": 0.1,
        "deletions": 0,
        "insertions": 0,
        "length": 10,
    }


def test_more_errors_than_words():
    assert rate(("stop", "please do not stop now"))["rate"] == 4


def test_nothing_to_be_said():
    with pytest.raises(ValueError, match="the transcripts of all 2 clips are empty"):
        rate(("", "hm"), ("", ""))
    with pytest.raises(ValueError, match="rows of width 3; expected those of error_counts"):
        ErrorRate().compute(State({"a": np.zeros((1, 3))}, {}))


@pytest.mark.parametrize(
    ("normalise", "text", "expected"),
    [
        (unchanged, " Don't  stop! ", "Don't stop!"),
        (basic, " Don't  STOP - now! ", "dont stop now"),
        (
            basic,
            "caf\u00e9 \u2018n\u2019 \ufb01ve; 3.5 \u20ac",
            "caf\u00e9 \u2018n five 3 5".replace("\u2018", ""),
        ),
        (basic, "well-known", "well known"),
        (
            whisper_english,
            "Mr. Smith won't pay twenty-one dollars, um",
            "mister smith will not pay $21",
        ),
        (whisper_english, "The colour was grey.", "the color was gray"),
    ],
)
def test_normalisers(normalise, text, expected):
    assert normalise(text) == expected
    assert normalise(expected) == expected or normalise is unchanged


def test_the_normaliser_decides():
    pair = ("I won't go at 5.", "i will not go at five")
    found = {name: rate(pair, normalise=f)["rate"] for name, f in NORMALISERS.items()}
    assert found["whisper-english"] == 0
    assert found["basic"] == pytest.approx(3 / 5)  # wont / will not, 5 / five
    assert found["none"] == pytest.approx(4 / 5)  # and I / i
