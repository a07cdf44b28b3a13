"""Stripes against the probabilities of torchlibrosa's draws."""

import functools

import jax
import numpy as np

from ldm_jax.train.spec_augment import kept, stripes

KEY = jax.random.key(0)


def probability(length: int, width: int) -> np.ndarray:
    """That a place lies in a stripe of randint(0, width) from randint(0, length - its width)."""
    out = np.zeros(length)
    for wide in range(width):
        for begin in range(length - wide):
            out[begin : begin + wide] += 1 / (width * (length - wide))
    return out


def test_every_place_is_hidden_as_often_as_in_the_peer():
    rows, length, width = 40_000, 20, 6
    hidden = np.asarray(stripes(KEY, rows=rows, length=length, width=width, count=1))
    want = probability(length, width)
    assert want[-1] == 0  # the last place is never met
    error = np.sqrt(want * (1 - want) / rows)
    assert (np.abs(hidden.mean(axis=0) - want) <= 4.5 * error).all()
    widths = np.bincount(hidden.sum(axis=1), minlength=width)
    assert np.abs(widths / rows - 1 / width).max() < 4.5 * np.sqrt((width - 1) / width**2 / rows)
    edges = np.abs(np.diff(hidden.astype(int), axis=1)).sum(axis=1)
    assert edges.max() == 2  # one piece


def test_two_stripes_are_drawn_apart():
    rows, length, width = 40_000, 20, 6
    hidden = np.asarray(stripes(KEY, rows=rows, length=length, width=width, count=2)).mean(axis=0)
    want = 1 - (1 - probability(length, width)) ** 2
    assert (np.abs(hidden - want) <= 4.5 * np.sqrt(want * (1 - want) / rows)).all()


def test_kept():
    """A cross of whole rows and columns, each clip its own."""
    settings = {
        "rows": 64,
        "frames": 50,
        "mels": 16,
        "time_stripes": (20, 1),
        "mel_stripes": (6, 2),
    }
    out = jax.jit(functools.partial(kept, **settings))(KEY)
    hidden = np.logical_not(out)
    frames, mels = hidden.all(axis=2), hidden.all(axis=1)
    np.testing.assert_array_equal(hidden, frames[:, :, None] | mels[:, None, :])
    assert frames.sum(axis=1).max() > 10
    assert 5 < mels.sum(axis=1).max() <= 10
    assert len({row.tobytes() for row in hidden}) > 55
    nothing = kept(KEY, rows=2, frames=9, mels=4, time_stripes=(8, 0), mel_stripes=(1, 3))
    assert nothing.all()
