"""CLAP scores and retrieval on vectors whose angles are known."""

import numpy as np
import pytest

from ldm_jax.eval.metrics.cosine import CosineScore, Retrieval
from ldm_jax.eval.metrics.state import State
from tests.eval.metrics.cases import paired


def at(*degrees: float) -> np.ndarray:
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def test_score():
    state = paired(3 * at(0, 0, 90), 0.1 * at(60, 120, 90))
    estimate = CosineScore().compute(state)
    assert estimate.value == pytest.approx((0.5 - 0.5 + 1) / 3, rel=1e-12)
    assert estimate.details["std"] == pytest.approx(np.std([0.5, -0.5, 1]), rel=1e-12)
    clamped = CosineScore(clamp=True, scale=100).compute(state)
    assert clamped.value == pytest.approx((50 + 0 + 100) / 3, rel=1e-12)


def test_a_clip_with_several_captions_counts_once():
    state = State({"a": at(0), "b": at(0)}, {"a": at(60, 120, 180), "b": at(0), "other": at(0)})
    estimate = CosineScore().compute(state)
    assert estimate.value == pytest.approx(((0.5 - 0.5 - 1) / 3 + 1) / 2, rel=1e-12)
    assert (estimate.clips, estimate.details["unpaired"]) == (2, 1)


def test_a_vector_of_zeros_is_at_right_angles_to_all():
    assert CosineScore().compute(paired(np.zeros((2, 3)), np.ones((2, 3)))).value == 0


@pytest.mark.parametrize(
    ("query", "k", "share", "mean_rank"),
    [
        # clips at 0, 20, 50 with texts at 5, 45, 48: own text is 1st, 3rd (25 off; 5 is 15 off, 45 is 25), 1st
        ("generated", 1, 2 / 3, 4 / 3),
        ("generated", 2, 1.0, 4 / 3),
        # texts look for clips: 5 -> 0 is 1st; 45 -> 50, 20: own is 2nd; 48 -> 50 is 1st
        ("reference", 1, 2 / 3, 4 / 3),
        ("reference", 2, 1.0, 4 / 3),
    ],
)
def test_retrieval(query, k, share, mean_rank):
    estimate = Retrieval(k=k, query=query).compute(paired(at(0, 20, 50), at(5, 45, 48)))
    assert estimate.value == pytest.approx(share)
    assert estimate.details["mean_rank"] == pytest.approx(mean_rank)
    assert estimate.details["median_rank"] == 1


def test_equal_texts_share_their_ranks():
    """Four clips of which three have one text: each of these is first with probability 1 / 3."""
    clips, texts = at(0, 1, 2, 90), at(1, 1, 1, 91)
    found = [Retrieval(k=k).compute(paired(clips, texts)).value for k in (1, 2, 3)]
    assert found == pytest.approx([(3 * 1 / 3 + 1) / 4, (3 * 2 / 3 + 1) / 4, 1])
    assert Retrieval().compute(paired(clips, texts)).details["mean_rank"] == pytest.approx(
        (3 * 2 + 1) / 4
    )


def test_what_cannot_tell_clips_apart_is_as_good_as_chance():
    estimate = Retrieval(k=5).compute(paired(at(*([30] * 20)), at(*([40] * 20))))
    assert estimate.value == pytest.approx(5 / 20)
    assert estimate.details["mean_rank"] == pytest.approx(10.5)


def test_one_pair():
    with pytest.raises(ValueError, match="nothing to choose from"):
        Retrieval().compute(paired(at(0), at(1)))
