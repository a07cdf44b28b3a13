"""KL against the published tools' figures and definitions."""

import jax.numpy as jnp
import numpy as np
import pytest

from ldm_jax.eval.metrics.divergence import Divergence, divergence
from ldm_jax.eval.metrics.state import State
from tests.eval.metrics.cases import paired, published

P = np.array([[0.05, 0.1, 0.2, 0.05, 0.15, 0.25, 0.08, 0.12]])
Q = np.array([[0.3, 0.1, 0.2, 0.1, 0.1, 0.02, 0.08, 0.1]])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 7.3271484375),  # audioldm_eval, AudioCraft's kld_pq
        ({"direction": "generated_to_reference"}, 7.1644802),  # AudioCraft's kld_qp
        ({"direction": "both"}, 7.3271484 + 7.1644802),  # AudioCraft's kld_both
        ({"activation": "sigmoid"}, 273.5563965),  # audioldm_eval
        ({"eps": 0.0}, 7.6971083),  # av-benchmark
    ],
)
def test_of_published_tools(settings, expected):
    arrays = published()
    state = paired(arrays["generated_logits"], arrays["reference_logits"])
    assert Divergence(**settings).compute(state).value == pytest.approx(expected, rel=2e-7)


def test_of_the_textbook():
    """The check of stable-audio-metrics."""
    found = divergence(np.log(P), np.log(Q), eps=0.0)
    assert found[0] == pytest.approx(0.589885181619163, rel=1e-12)
    found = divergence(np.log(P), np.log(Q), eps=1e-6)
    assert found[0] == pytest.approx(0.589866, abs=5e-7)


def test_direction_of_one_pair():
    state = paired(np.log(Q), np.log(P))  # generated, reference
    forwards = (P * np.log(P / Q)).sum()
    backwards = (Q * np.log(Q / P)).sum()
    for direction, expected in (
        ("reference_to_generated", forwards),
        ("generated_to_reference", backwards),
        ("both", forwards + backwards),
    ):
        estimate = Divergence(direction=direction, eps=0.0).compute(state)
        assert estimate.value == pytest.approx(expected, rel=1e-12)


def test_what_eps_bounds():
    """A certain answer against a certain other one: log 1e6 nats with eps, 1000 without."""
    one, other = np.array([[1000.0, 0.0]]), np.array([[0.0, 1000.0]])
    assert divergence(one, other)[0] == pytest.approx(6 * np.log(10), rel=1e-12)
    assert divergence(one, other, eps=0.0)[0] == pytest.approx(1000, rel=1e-12)
    assert divergence(one, other, activation="sigmoid", eps=0.0)[0] == pytest.approx(
        np.log(2) - 0.5 * np.log(2), rel=1e-12
    )


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("eps", [0.0, 1e-6])
def test_jax_in_float32(activation, eps):
    arrays = published()
    generated, reference = arrays["generated_logits"], arrays["reference_logits"]
    ours = divergence(
        jnp.asarray(reference), jnp.asarray(generated), activation=activation, eps=eps
    )
    exact = divergence(
        reference.astype(np.float64), generated.astype(np.float64), activation=activation, eps=eps
    )
    np.testing.assert_allclose(ours, exact, rtol=2e-6)


def test_every_row_of_every_pair_counts_once():
    arrays = published()
    generated, reference = arrays["generated_logits"], arrays["reference_logits"]
    names = "abc"
    cuts = [2, 9, 20]
    state = State(
        dict(zip(names, np.split(generated[:20], cuts[:-1]), strict=True))
        | {"alone": generated[:1]},
        dict(zip(names, np.split(reference[:20], cuts[:-1]), strict=True)),
    )
    estimate = Divergence().compute(state)
    whole = Divergence().compute(paired(generated[:20], reference[:20]))
    assert estimate.value == pytest.approx(whole.value, rel=1e-12)
    assert (estimate.clips, estimate.details["unpaired"]) == (3, 1)


def test_pairs_of_different_lengths():
    state = State({"a": np.zeros((3, 4))}, {"a": np.zeros((2, 4))})
    with pytest.raises(ValueError, match="clip 'a': 3 rows of logits where its reference has 2"):
        Divergence().compute(state)
