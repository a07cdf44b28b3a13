"""The kernel distance (KID)."""

import dataclasses

import numpy as np
from jaxtyping import Float

from ldm_jax.eval.metrics.bootstrap import by_clip, linear_interval
from ldm_jax.eval.metrics.checks import same_width, summed_by_clip, vectors
from ldm_jax.eval.metrics.estimate import Bootstrap, Estimate
from ldm_jax.eval.metrics.state import State


def discrepancy(
    xx: Float[np.ndarray, "m m"], yy: Float[np.ndarray, "n n"], xy: Float[np.ndarray, "m n"]
) -> float:
    """The unbiased squared maximum mean discrepancy of kernel matrices; of like sets often below 0.

    sum_{i != j} k(x_i, x_j) / m(m - 1) + sum_{i != j} k(y_i, y_j) / n(n - 1) - 2 sum_ij k(x_i, y_j) / mn
    (Gretton et al., 2012, lemma 6; Binkowski et al., arXiv 1801.01401).
    """
    return float(_off_diagonal(xx).mean() + _off_diagonal(yy).mean() - 2 * xy.mean())


def _off_diagonal(k: np.ndarray) -> np.ndarray:
    """Of each row, the mean over the others."""
    return (k.sum(axis=1) - np.diagonal(k)) / (len(k) - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KernelDistance:
    """The mean `discrepancy` of subsets of the two sides, under the kernel (gamma x.y + coef0)^degree.

    The defaults are those of torch-fidelity, which audioldm_eval copied; ConsistencyTTA's subset_size is None.

    Attributes:
        subsets: how many.
        subset_size: rows of either side in a subset, less where a side has less; None is all of the smaller side.
        degree: see above.
        gamma: see above; None is 1 / width.
        coef0: see above.
        seed: of the subsets, NumPy's RandomState.
    """

    subsets: int = 100
    subset_size: int | None = 1000
    degree: int = 3
    gamma: float | None = None
    coef0: float = 1.0
    seed: int = 2020

    def compute(self, state: State, *, bootstrap: Bootstrap | None = None) -> Estimate:
        """The mean; details: "std" over the subsets, "subset_size". `bootstrap` says what the interval means.

        Raises:
            ValueError: see `checks`.
        """
        x = vectors(state.generated, "generated")
        y = vectors(state.reference, "reference")
        same_width(x, y)
        xx, yy, xy = self._kernel(x, x), self._kernel(y, y), self._kernel(x, y)
        size = min(len(x), len(y), self.subset_size or len(x))
        if size < 2:
            raise ValueError(f"subset_size is {self.subset_size}; it has to be 2 or more")
        rng = np.random.RandomState(self.seed)
        found = np.zeros(self.subsets if size < max(len(x), len(y)) else 1)
        for i in range(len(found)):
            a = np.sort(rng.choice(len(x), size, replace=False))
            b = np.sort(rng.choice(len(y), size, replace=False))
            found[i] = discrepancy(xx[np.ix_(a, a)], yy[np.ix_(b, b)], xy[np.ix_(a, b)])
        value = float(found.mean())
        of_x = 2 * (_off_diagonal(xx) - xy.mean(axis=1)) / len(x)
        of_y = 2 * (_off_diagonal(yy) - xy.mean(axis=0)) / len(y)
        clips = by_clip(
            summed_by_clip(of_x - of_x.mean(), state.generated),
            summed_by_clip(of_y - of_y.mean(), state.reference),
        )
        low, high = linear_interval(value, clips, bootstrap)
        return Estimate(
            value=value,
            clips=len(state.generated),
            low=low,
            high=high,
            details={"std": float(found.std()), "subset_size": float(size)},
        )

    def _kernel(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        gamma = 1 / x.shape[1] if self.gamma is None else self.gamma
        return (gamma * (x @ y.T) + self.coef0) ** self.degree
