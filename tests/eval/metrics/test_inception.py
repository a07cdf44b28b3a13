"""The inception score against audioldm_eval's figure and closed forms."""

import numpy as np
import pytest

from ldm_jax.eval.metrics.inception import InceptionScore
from ldm_jax.eval.metrics.state import State
from tests.eval.metrics.cases import paired, published


def generated(logits: np.ndarray) -> State:
    return State(paired(logits, logits).generated, {})


def test_of_published_tool():
    estimate = InceptionScore().compute(generated(published()["generated_logits"]))
    assert estimate.value == pytest.approx(6.665800500098119, rel=1e-12)
    assert estimate.details["std"] == pytest.approx(0.3106832711202327, rel=1e-10)


def test_as_many_certain_classes():
    """Clips that are certain, of 7 classes in equal shares, score 7."""
    logits = 500 * np.eye(7)[np.tile(np.arange(7), 20)]
    assert InceptionScore(splits=1).compute(generated(logits)).value == pytest.approx(7, rel=1e-12)
    in_order = InceptionScore(splits=20, seed=None).compute(generated(logits))
    assert in_order.value == pytest.approx(7, rel=1e-12)
    assert in_order.details["std"] == pytest.approx(0, abs=1e-12)
    assert InceptionScore(splits=20).compute(generated(logits)).value < 6  # shuffled


def test_clips_that_are_all_alike():
    logits = np.tile(published()["generated_logits"][:1], (50, 1))
    assert InceptionScore().compute(generated(logits)).value == pytest.approx(1, rel=1e-12)


def test_too_few_for_the_splits():
    state = generated(np.zeros((9, 3)))
    with pytest.raises(ValueError, match="9 rows of logits for 10 splits"):
        InceptionScore().compute(state)
    assert InceptionScore(splits=3).compute(state).value == pytest.approx(1, rel=1e-12)
