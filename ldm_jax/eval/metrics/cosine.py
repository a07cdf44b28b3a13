"""How well clips fit texts or other clips, by the angle between CLAP's vectors."""

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Array, Float

from ldm_jax.audio.stft import namespace
from ldm_jax.eval.metrics.bootstrap import mean_interval
from ldm_jax.eval.metrics.checks import paired_names, paired_rows, unpaired
from ldm_jax.eval.metrics.estimate import Bootstrap, Estimate
from ldm_jax.eval.metrics.state import State


def cosines(
    x: Float[np.ndarray | Array, "rows dim"], y: Float[np.ndarray | Array, "others dim"]
) -> Float[np.ndarray | Array, "rows others"]:
    """x_i . y_j / (|x_i| |y_j|); 0 of a vector that is 0."""
    return _units(x) @ _units(y).T


def _units(x: np.ndarray | Array) -> np.ndarray | Array:
    xp = namespace(x)
    return x / xp.maximum(xp.sqrt((x**2).sum(axis=-1, keepdims=True)), 1e-8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CosineScore:
    """The mean cosine between the two sides' vectors of the same name: the CLAP score.

    The reference side holds the vectors of texts (CLAP_T) or of other clips (CLAP_A).

    Attributes:
        clamp: negative cosines count as 0 (ConsistencyTTA).
        scale: 1, or 100 in ConsistencyTTA.
    """

    clamp: bool = False
    scale: float = 1.0

    def compute(self, state: State, *, bootstrap: Bootstrap | None = None) -> Estimate:
        """The mean over clips; details: "std" over clips, and "unpaired" clips.

        Of a clip with several rows, such as several captions, each row is compared with each, and their mean taken.

        Raises:
            ValueError: see `checks`.
        """
        names = paired_names(state)
        paired_rows(state, names)
        values = np.array([self._of_clip(state, name) for name in names])
        low, high = mean_interval(values, bootstrap)
        return Estimate(
            value=float(values.mean()),
            clips=len(names),
            low=low,
            high=high,
            details={"std": float(values.std()), "unpaired": float(unpaired(state))},
        )

    def _of_clip(self, state: State, name: str) -> float:
        found = cosines(
            state.generated[name].astype(np.float64), state.reference[name].astype(np.float64)
        )
        return float(self.scale * (np.maximum(found, 0) if self.clamp else found).mean())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retrieval:
    """R@k: the share of clips whose own text is among the `k` nearest of all clips' texts.

    As near as the own text others may be, such as one that two clips share: then the share is that of random order
    among equals.

    Attributes:
        k: how many.
        query: "generated" looks for its text, "reference" for its clip.
    """

    k: int = 1
    query: Literal["generated", "reference"] = "generated"

    def compute(self, state: State, *, bootstrap: Bootstrap | None = None) -> Estimate:
        """The share; details: "mean_rank" and "median_rank" from 1, and "unpaired" clips.

        The interval redraws those who search, among the same candidates. Of several rows of a clip the mean of their
        unit vectors counts.

        Raises:
            ValueError: see `checks`; also fewer than two pairs.
        """
        names = paired_names(state)
        if len(names) < 2:
            raise ValueError("one pair of clips and texts; there is nothing to choose from")
        paired_rows(state, names)
        clips, texts = (
            np.stack([_units(side[name].astype(np.float64)).mean(axis=0) for name in names])
            for side in (state.generated, state.reference)
        )
        found = cosines(clips, texts)
        found = np.round(found if self.query == "generated" else found.T, 9)  # equals are equal
        own = np.diagonal(found)[:, None]
        nearer, equal = (found > own).sum(axis=1), (found == own).sum(axis=1)
        hits = np.clip((self.k - nearer) / equal, 0, 1)
        ranks = nearer + (equal + 1) / 2
        low, high = mean_interval(hits, bootstrap)
        return Estimate(
            value=float(hits.mean()),
            clips=len(names),
            low=low,
            high=high,
            details={
                "mean_rank": float(ranks.mean()),
                "median_rank": float(np.median(ranks)),
                "unpaired": float(unpaired(state)),
            },
        )
