"""The mean of numbers that were made a clip, or a pair of clips, at a time."""

import dataclasses

import numpy as np

from ldm_jax.eval.metrics.bootstrap import ratio_interval
from ldm_jax.eval.metrics.checks import vectors
from ldm_jax.eval.metrics.estimate import Bootstrap, Estimate
from ldm_jax.eval.metrics.state import State


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipMean:
    """The mean of the generated side's rows, of width 1; for what `spectral` computes."""

    def compute(self, state: State, *, bootstrap: Bootstrap | None = None) -> Estimate:
        """The mean; details: "std" over clips.

        Raises:
            ValueError: see `checks`; also rows of another width.
        """
        rows = vectors(state.generated, "generated", least=1)
        if rows.shape[1] != 1:
            raise ValueError(f"rows of width {rows.shape[1]}; this metric takes one number a row")
        names = sorted(state.generated)
        sums = np.array([state.generated[name].sum(dtype=np.float64) for name in names])
        lengths = np.array([float(len(state.generated[name])) for name in names])
        low, high = ratio_interval(sums, lengths, bootstrap)
        return Estimate(
            value=float(sums.sum() / lengths.sum()),
            clips=len(names),
            low=low,
            high=high,
            details={"std": float((sums / lengths).std())},
        )
