"""The inception score."""

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy.special import log_softmax

from ldm_jax.eval.metrics.bootstrap import by_clip, linear_interval
from ldm_jax.eval.metrics.checks import summed_by_clip, vectors
from ldm_jax.eval.metrics.estimate import Bootstrap, Estimate
from ldm_jax.eval.metrics.state import State


def surprises(logits: Float[np.ndarray, "rows classes"]) -> Float[np.ndarray, " rows"]:
    """KL(p_i || mean_j p_j) in nats, of the softmax of each row; exp of their mean is the inception score.

    Salimans et al., arXiv 1606.03498.
    """
    log_p = log_softmax(logits, axis=-1)
    p = np.exp(log_p)
    return (p * (log_p - np.log(p.mean(axis=0)))).sum(axis=-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InceptionScore:
    """The mean over splits of the generated clips' inception scores.

    The defaults are audioldm_eval's and av-benchmark's. Which clip falls into which split depends on the order of
    rows, here by name; audioldm_eval sorts by file name with its ending, so to the last digit the figures agree if
    clips are named in that way.

    Attributes:
        splits: how many.
        seed: of the shuffle before splitting, NumPy's RandomState; None leaves the rows as they are.
    """

    splits: int = 10
    seed: int | None = 2020

    def compute(self, state: State, *, bootstrap: Bootstrap | None = None) -> Estimate:
        """The mean; details: "std" over the splits, which is no standard error.

        It grows with the number of rows in a split and is at most that. `bootstrap` says what the interval means.

        Raises:
            ValueError: see `checks`; also fewer rows than splits.
        """
        logits = vectors(state.generated, "generated")
        if (count := len(logits)) < self.splits:
            raise ValueError(
                f"generated: {count} rows of logits for {self.splits} splits; give more clips or ask for fewer splits"
            )
        order = np.arange(count)
        if self.seed is not None:
            order = np.random.RandomState(self.seed).permutation(count)
        scores, slopes = np.zeros(self.splits), np.zeros(count)
        for i in range(self.splits):
            part = order[i * count // self.splits : (i + 1) * count // self.splits]
            kl = surprises(logits[part])
            scores[i] = np.exp(kl.mean())
            slopes[part] = scores[i] * (kl - kl.mean()) / (len(part) * self.splits)
        value = float(scores.mean())
        clips = by_clip(summed_by_clip(slopes, state.generated), {})
        low, high = linear_interval(value, clips, bootstrap)
        return Estimate(
            value=value,
            clips=len(state.generated),
            low=low,
            high=high,
            details={"std": float(scores.std())},
        )
