"""The Fréchet distance at infinitely many samples (FAD-infinity; Gui et al., arXiv 2311.01616)."""

import dataclasses
from typing import Literal, NamedTuple

import numpy as np

from ldm_jax.eval.metrics.bootstrap import by_clip, linear_interval
from ldm_jax.eval.metrics.checks import summed_by_clip
from ldm_jax.eval.metrics.estimate import Bootstrap, Estimate
from ldm_jax.eval.metrics.frechet import derivatives, details, distance, sides
from ldm_jax.eval.metrics.gaussians import Gaussian, fit
from ldm_jax.eval.metrics.state import Rows, State


class _Subset(NamedTuple):
    """Rows of either side, None for all of them, and what their distance weighs in the intercept."""

    x: np.ndarray
    y: np.ndarray | None
    weight: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrechetExtrapolation:
    """The intercept of the least-squares line through the distances of subsets of n rows over 1 / n.

    A distance of n rows exceeds that of infinitely many by about c / n. The default draws subsets without
    replacement, which are samples of n rows as a smaller evaluation would have them, and so works below 500 clips.
    fadtk draws with replacement: then the line leads to the distance of the empirical distribution, which is
    `FrechetDistance` itself at all N rows, with c / N in it. `fadtk` sets all as there.

    Attributes:
        ddof: as in `gaussians.fit`.
        reference: published statistics, for a state without reference side.
        sizes: how many n, evenly spaced from `smallest` to all.
        smallest: n; None is half of all.
        repeats: subsets of each size, whose distances are averaged.
        replacement: draw with replacement.
        unit: what is drawn, clips with all their rows, or rows; what 1 / n counts.
        shrink: "generated", or "both" sides, by the same share; then the intercept has both infinite.
        seed: of the draws, NumPy's RandomState.
    """

    ddof: int = 1
    reference: Gaussian | None = None
    sizes: int = 15
    smallest: int | None = None
    repeats: int = 4
    replacement: bool = False
    unit: Literal["clips", "vectors"] = "clips"
    shrink: Literal["generated", "both"] = "generated"
    seed: int = 0

    @classmethod
    def fadtk(cls, *, reference: Gaussian | None = None, seed: int = 0) -> "FrechetExtrapolation":
        """25 sizes from 500 to all, vectors with replacement.

        The draws are those of fadtk after `np.random.seed(seed)`, if it is given the clips sorted by name.
        """
        return cls(
            reference=reference,
            sizes=25,
            smallest=500,
            repeats=1,
            replacement=True,
            unit="vectors",
            seed=seed,
        )

    def compute(self, state: State, *, bootstrap: Bootstrap | None = None) -> Estimate:
        """The intercept; details: "slope" and "r2" of the fit, "all" as the distance of all rows.

        It can be below 0. The interval is that of `bootstrap`, for the line through the same subsets.

        Raises:
            ValueError: see `checks`; also no more clips, or vectors, than `smallest`, or `shrink` of both sides with
                statistics.
        """
        x, y = sides(state, self.reference, least=self.ddof + 1)
        if self.shrink == "both" and isinstance(y, Gaussian):
            raise ValueError("published statistics cannot shrink; extrapolate the generated side")
        whole = y if isinstance(y, Gaussian) else fit(y, ddof=self.ddof)
        inverse, weights, subsets = self._plan(state)
        found = [self._distance(x, y, whole, subset) for subset in subsets]
        points = np.reshape(found, (-1, self.repeats)).mean(axis=1)
        value = float(weights @ points)
        slope = float(np.polyfit(inverse, points, 1)[0])
        misfit, spread = points - value - slope * inverse, points - points.mean()
        low, high = None, None
        if bootstrap is not None:
            clips = self._derivatives(state, x, y, subsets)
            low, high = linear_interval(value, clips, bootstrap)
        fitted = {
            "slope": slope,
            "r2": float(1 - (misfit**2).sum() / (spread**2).sum()) if spread.any() else 1.0,
            "all": float(distance(fit(x, ddof=self.ddof), whole)),
        }
        return Estimate(
            value=value,
            clips=len(state.generated),
            low=low,
            high=high,
            details=details(x, y) | fitted,
        )

    def _plan(self, state: State) -> tuple[np.ndarray, np.ndarray, list[_Subset]]:
        """(1 / n of each size, what each size weighs in the intercept, subsets of all sizes)."""
        units = _units(state.generated, self.unit)
        others = _units(state.reference, self.unit) if self.shrink == "both" else []
        smallest = max(2, len(units) // 2) if self.smallest is None else self.smallest
        if len(units) <= smallest:
            raise ValueError(
                f"{len(units)} generated {self.unit}; the line starts at {smallest} and takes more than that"
            )
        sizes = np.linspace(smallest, len(units), self.sizes).astype(int)
        inverse = 1 / sizes
        weights = np.linalg.pinv(np.stack([np.ones(self.sizes), inverse], axis=1))[0]
        rng, subsets = np.random.RandomState(self.seed), []
        for size, weight in zip(sizes, weights / self.repeats, strict=True):
            for _ in range(self.repeats):
                chosen = rng.choice(len(units), size, replace=self.replacement)
                rows = np.concatenate([units[i] for i in chosen])
                of_y = None
                if others:
                    fewer = max(2, round(len(others) * size / len(units)))
                    drawn = rng.choice(len(others), fewer, replace=self.replacement)
                    of_y = np.concatenate([others[i] for i in drawn])
                subsets.append(_Subset(rows, of_y, weight))
        return inverse, weights, subsets

    def _distance(
        self, x: np.ndarray, y: np.ndarray | Gaussian, whole: Gaussian, subset: _Subset
    ) -> float:
        other = whole if subset.y is None else fit(np.asarray(y)[subset.y], ddof=self.ddof)
        return float(distance(fit(x[subset.x], ddof=self.ddof), other))

    def _derivatives(
        self, state: State, x: np.ndarray, y: np.ndarray | Gaussian, subsets: list[_Subset]
    ) -> list[np.ndarray]:
        """Of the intercept to the weights of clips, as `linear_interval` takes them."""
        of_x, of_y = np.zeros(len(x)), np.zeros(0 if isinstance(y, Gaussian) else len(y))
        for subset in subsets:
            other = y if isinstance(y, Gaussian) or subset.y is None else y[subset.y]
            dx, dy = derivatives(x[subset.x], other, ddof=self.ddof)
            np.add.at(of_x, subset.x, subset.weight * dx)
            if len(of_y):
                rows = np.arange(len(of_y)) if subset.y is None else subset.y
                np.add.at(of_y, rows, subset.weight * dy)
        return by_clip(summed_by_clip(of_x, state.generated), summed_by_clip(of_y, state.reference))


def _units(rows: Rows, unit: str) -> list[np.ndarray]:
    """The places in `vectors` of what is drawn."""
    lengths = [len(rows[name]) for name in sorted(rows)]
    places = np.arange(sum(lengths))
    return np.split(places, len(places) if unit == "vectors" else np.cumsum(lengths)[:-1])
