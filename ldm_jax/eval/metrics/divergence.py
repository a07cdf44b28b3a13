"""Kullback-Leibler divergence between what a classifier hears in a clip and in the one of the same name."""

import dataclasses
from typing import Any, Literal

import jax
import numpy as np
import scipy.special
from jaxtyping import Array, Float

from ldm_jax.audio.stft import namespace
from ldm_jax.eval.metrics.bootstrap import ratio_interval
from ldm_jax.eval.metrics.checks import paired_names, paired_rows, unpaired
from ldm_jax.eval.metrics.estimate import Bootstrap, Estimate
from ldm_jax.eval.metrics.state import State

Activation = Literal["softmax", "sigmoid"]


def divergence(
    p_logits: Float[np.ndarray | Array, "*batch classes"],
    q_logits: Float[np.ndarray | Array, "*batch classes"],
    *,
    activation: Activation = "softmax",
    eps: float = 1e-6,
) -> Float[np.ndarray | np.floating | Array, "*batch"]:
    """KL(p || q) = sum_c p_c (log p_c - log(q_c + eps)), q not normalised again.

    Args:
        p_logits: of the distribution that the expectation is taken over.
        q_logits: of the other.
        activation: "softmax", or "sigmoid" of each class. Of the latter the sum is no divergence (the terms of 1 - p
            are not in it) and can be below 0; audioldm_eval and av-benchmark report it.
        eps: bounds the surprise at 14 nats if 1e-6; 0 is exact.
    """
    log_p = _log_probabilities(p_logits, activation)
    log_q = _log_probabilities(q_logits, activation)
    xp: Any = namespace(p_logits)
    if eps:
        log_q = xp.log(xp.exp(log_q) + eps)
    return (xp.exp(log_p) * (log_p - log_q)).sum(axis=-1)


def _log_probabilities(logits: Any, activation: Activation) -> Any:
    softmax = activation == "softmax"
    if isinstance(logits, jax.Array):
        return (jax.nn.log_softmax if softmax else jax.nn.log_sigmoid)(logits)
    return scipy.special.log_softmax(logits, axis=-1) if softmax else -np.logaddexp(0, -logits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Divergence:
    """The mean of `divergence` over pairs of clips, in nats.

    Attributes:
        direction: "reference_to_generated" is KL(reference || generated) (audioldm_eval, av-benchmark, AudioCraft's
            kld_pq), "generated_to_reference" KL(generated || reference) (stable-audio-metrics, AudioCraft's kld_qp),
            "both" their sum (AudioCraft's kld_both).
        activation: of the classifier's logits.
        eps: 1e-6 in audioldm_eval, AudioCraft and stable-audio-metrics, 0 in av-benchmark.
    """

    direction: Literal["reference_to_generated", "generated_to_reference", "both"] = (
        "reference_to_generated"
    )
    activation: Activation = "softmax"
    eps: float = 1e-6

    def compute(self, state: State, *, bootstrap: Bootstrap | None = None) -> Estimate:
        """The mean over the rows of all pairs; details: clips that have no partner as "unpaired".

        Raises:
            ValueError: see `checks`; also a pair whose numbers of rows differ.
        """
        names = paired_names(state)
        generated, reference = paired_rows(state, names)
        for name in names:
            if (g := len(state.generated[name])) != (r := len(state.reference[name])):
                raise ValueError(
                    f"clip {name!r}: {g} rows of logits where its reference has {r}; cut both to the same length"
                )
        rows = np.zeros(len(generated))
        if self.direction in ("reference_to_generated", "both"):
            rows += divergence(reference, generated, activation=self.activation, eps=self.eps)
        if self.direction in ("generated_to_reference", "both"):
            rows += divergence(generated, reference, activation=self.activation, eps=self.eps)
        lengths = np.array([len(state.generated[name]) for name in names])
        sums = np.add.reduceat(rows, np.cumsum(lengths) - lengths)
        low, high = ratio_interval(sums, lengths.astype(np.float64), bootstrap)
        return Estimate(
            value=float(sums.sum() / lengths.sum()),
            clips=len(names),
            low=low,
            high=high,
            details={"unpaired": float(unpaired(state))},
        )
