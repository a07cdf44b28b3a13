"""Names with options, as a config writes them."""

import pytest

from ldm_jax.diffusion import tables


def scaled(x, *, by=2.0, times=1, how="product"):
    return (x, by, times, how)


TABLE = {"scaled": scaled, "plain": lambda x: x}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("snr", ("snr", {})),
        ("p2:k=1,gamma=.5", ("p2", {"k": 1, "gamma": 0.5})),
        ("sigmoid:bias=-1e-1", ("sigmoid", {"bias": -0.1})),
        ("bsa:reading=sum,floor=2", ("bsa", {"reading": "sum", "floor": 2})),
    ],
)
def test_parse(text, expected):
    assert tables.parse(text) == expected
    assert [type(v) for v in tables.parse(text)[1].values()] == [
        type(v) for v in expected[1].values()
    ]


def test_configured():
    """Options may be in the text, given, or both; what is given wins."""
    made = tables.configured(TABLE, "scaled:by=3,how=sum", {"by": 4.0}, what="The change")
    assert made(1) == (1, 4.0, 1, "sum")
    assert tables.configured(TABLE, "plain", {}, what="The change")(5) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sclaed:by=3", "The change must be one of scaled, plain, but got 'sclaed'"),
        ("scaled:by", "Options are written name:option=value,..., but got 'scaled:by'"),
        ("scaled:x=3", "The change 'scaled' has only by, times, how, but got x=3"),
        ("plain:by=3", "The change 'plain' has no options, but got by=3"),
        ("scaled:by=much", "The change 'scaled' takes a number for by, but got 'much'"),
        ("scaled:how=3", "The change 'scaled' takes a word for how, but got 3"),
    ],
)
def test_errors(text, message):
    with pytest.raises(ValueError, match=message):
        tables.configured(TABLE, text, {}, what="The change")
