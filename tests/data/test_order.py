"""The order of clips: epochs, rates, and that any place can be looked up alone."""

import subprocess
import sys

import numpy as np
import pytest

from ldm_jax.data.order import Order, place_generator


def test_no_clip_comes_again_before_all_others_have():
    order = Order((1000,), seed=3)
    _, rows = order(np.arange(5 * order.block))
    counts = np.zeros(1000, int)
    for block in rows.reshape(5, order.block):
        np.add.at(counts, block, 1)
        assert counts.max() - counts.min() <= 1
    assert counts.sum() == 5 * order.block


def test_order_is_shuffled_anew_every_epoch():
    order = Order((1024,), seed=3)  # an epoch is a block
    _, rows = order(np.arange(3 * 1024))
    epochs = rows.reshape(3, 1024)
    assert (np.sort(epochs, axis=1) == np.arange(1024)).all()
    # Chance leaves about one clip of 1024 in its place and one pair in sequence; ten has odds of one in millions.
    for a, b in ((epochs[0], epochs[1]), (epochs[1], epochs[2]), (epochs[0], np.arange(1024))):
        assert (a == b).sum() < 10
    assert (np.diff(epochs, axis=1) == 1).sum() < 10 * 3


@pytest.mark.parametrize("weights", [(0.7, 0.2, 0.1), (1, 1, 1), (0.9985, 0.001, 0.0005)])
def test_rates_are_as_asked(weights):
    order = Order((50, 3000, 7), weights, seed=1)
    sets, rows = order(np.arange(20 * order.block))
    shares = np.array(weights) / sum(weights)
    so_far = np.zeros(3, int)
    for m, block in enumerate(sets.reshape(20, -1), start=1):
        so_far += np.bincount(block, minlength=3)
        assert np.abs(so_far - shares * m * order.block).max() < 2  # never drifts
    assert all(rows[sets == k].max() < size for k, size in enumerate(order.sizes))


def test_rates_hold_in_short_stretches_within_sampling_error():
    order = Order((50, 3000), (0.3, 0.7), seed=1)
    sets, _ = order(np.arange(256 * 1000))
    shares = (sets.reshape(1000, 256) == 0).mean(axis=1)
    # Drawn without replacement from blocks of 1024, so that batches scatter less than the binomial.
    assert np.abs(shares.mean() - 0.3) < 1e-3
    assert 0.5 < shares.std() / np.sqrt(0.3 * 0.7 / 256) < 1.0


def test_without_weights_sets_are_drawn_by_size():
    sets, _ = Order((300, 100), seed=1)(np.arange(4096))
    assert np.bincount(sets).tolist() == [3072, 1024]


def test_a_place_is_found_alone_and_in_any_company():
    order = Order((50, 3000), (0.3, 0.7), seed=1)
    places = np.random.default_rng(0).integers(0, 10**9, 200)
    together = np.stack(order(places))
    alone = np.stack([np.concatenate(order([place])) for place in places.tolist()], axis=1)
    assert (together == alone).all()


def test_seeds_give_other_orders():
    one, other = (np.stack(Order((500, 500), seed=seed)(np.arange(1024))) for seed in (0, 1))
    assert (one != other).any(axis=0).mean() > 0.99


def test_another_process_has_the_same_order():
    code = (
        "from ldm_jax.data.order import Order, place_generator;"
        "print([x.tolist() for x in Order((50, 3000), (0.3, 0.7), seed=1)([5, 10**8])],"
        " place_generator(7, 11).integers(10**6))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    here = [x.tolist() for x in Order((50, 3000), (0.3, 0.7), seed=1)([5, 10**8])]
    assert printed.stdout.strip() == f"{here} {place_generator(7, 11).integers(10**6)}"


def test_random_numbers_of_neighbouring_places_are_independent():
    draws = np.array([place_generator(0, place).random(2) for place in range(4000)])
    correlations = np.corrcoef(np.stack([draws[:-1, 0], draws[1:, 0], draws[1:, 1]]))
    assert np.abs(correlations[np.triu_indices(3, 1)]).max() < 0.06  # 4 standard errors
    assert np.abs(draws.mean(axis=0) - 0.5).max() < 4 * np.sqrt(1 / 12 / 4000)


@pytest.mark.parametrize(
    ("sizes", "weights", "message"),
    [
        ((), (), "every set needs clips"),
        ((3, 0), (), "every set needs clips"),
        ((3, 4), (1.0,), "one for each of 2 sets"),
        ((3, 4), (1.0, 0.0), "must be positive"),
        ((3, 4), (1.0, float("nan")), "must be positive"),
    ],
)
def test_refuses(sizes, weights, message):
    with pytest.raises(ValueError, match=message):
        Order(sizes, weights)
