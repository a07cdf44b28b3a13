"""What held-out clips a few batches see."""

import numpy as np

from ldm_jax.train.examples import HeldOut


def entries(order, places):
    sets, rows = order(places)
    starts = np.cumsum(order.sizes) - order.sizes
    return starts[sets] + rows


def test_every_held_out_clip_comes_once_before_any_comes_again():
    order = HeldOut((30, 1, 70))
    once, again = entries(order, range(101)), entries(order, range(101, 202))
    assert sorted(once) == list(range(101))
    np.testing.assert_array_equal(once, again)


def test_the_first_batches_are_a_sample_of_the_whole_split():
    """A dataset has its clips folder by folder; 4 batches of 8 of 320 clips hold about 16 of each half."""
    first = entries(HeldOut((320,)), range(32))
    assert 8 <= (first < 160).sum() <= 24
