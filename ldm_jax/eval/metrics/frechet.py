"""The Fréchet distance: FD on features of a classifier, FAD on VGGish's."""

import dataclasses

import jax
import numpy as np
from jaxtyping import Array, Float

from ldm_jax.audio.stft import namespace
from ldm_jax.eval.metrics.bootstrap import by_clip, linear_interval
from ldm_jax.eval.metrics.checks import same_width, summed_by_clip, vectors
from ldm_jax.eval.metrics.estimate import Bootstrap, Estimate
from ldm_jax.eval.metrics.gaussians import Gaussian, fit
from ldm_jax.eval.metrics.state import State

Scalar = Float[np.ndarray | np.floating | Array, ""]


def frechet_distance(
    x: Float[np.ndarray | Array, "rows dim"],
    y: Float[np.ndarray | Array, "others dim"],
    *,
    ddof: int = 1,
) -> Scalar:
    """||m_x - m_y||^2 + tr S_x + tr S_y - 2 tr (S_x S_y)^(1/2), of Gaussians fitted to the rows.

    Args:
        x: features, NumPy's or JAX's, these also inside a compiled program; computed in their type.
        y: other features of the same width.
        ddof: as in `gaussians.fit`.

    Raises:
        ValueError: no more rows than `ddof`.
    """
    return distance(fit(x, ddof=ddof), fit(y, ddof=ddof))


def distance(a: Gaussian, b: Gaussian) -> Scalar:
    """The distance of two Gaussians, never below 0.

    The last trace is the nuclear norm of F_a F_b^T, the sum of its singular values (S = F^T F). No square root of a
    matrix is taken and no covariance formed: fewer rows than columns do no harm, and float32 keeps six digits. The
    published tools take `scipy.linalg.sqrtm` of the covariances' product, 15 to 60 seconds' work at width 2048, whose
    result rounding may make complex.
    """
    xp = namespace(a.mean)
    shift = a.mean - b.mean
    with jax.default_matmul_precision("highest"):
        roots = xp.linalg.svd(a.factor @ b.factor.T, compute_uv=False)
    squares = (shift**2).sum() + (a.factor**2).sum() + (b.factor**2).sum()
    return xp.maximum(squares - 2 * roots.sum(), 0)


def derivatives(
    x: Float[np.ndarray, "rows dim"],
    y: Float[np.ndarray, "others dim"] | Gaussian,
    *,
    ddof: int = 1,
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " others"]]:
    """Of `frechet_distance` to the weight of each row, which is 1; they sum to 0 on either side.

    With the centred rows over sqrt(n - ddof) as A, B and A B^T = U diag(s) V^T, the weight of row x_i moves ||m||^2 by
    2 (m_x - m_y).(x_i - m_x) / n, tr S_x by |a_i|^2 and the nuclear norm by half of sum_k U_ik^2 s_k, less their means.

    Returns:
        Of x and of y; empty for y if that is a Gaussian.
    """
    mean_x, a, basis_x = _decomposed(x, ddof)
    if isinstance(y, Gaussian):
        mean_y, b, basis_y = np.asarray(y.mean), np.asarray(y.factor), None
    else:
        mean_y, b, basis_y = _decomposed(y, ddof)
    u, s, vt = np.linalg.svd(a @ b.T, full_matrices=False)
    of_x = _slopes(x, mean_x, mean_y, ddof, u if basis_x is None else basis_x @ u, s)
    if isinstance(y, Gaussian):
        return of_x, np.zeros(0)
    return of_x, _slopes(y, mean_y, mean_x, ddof, vt.T if basis_y is None else basis_y @ vt.T, s)


def _decomposed(x: np.ndarray, ddof: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """(mean, factor, Q or None): the centred rows over sqrt(n - ddof) are Q factor, or the factor itself."""
    mean = x.mean(axis=0)
    rows = (x - mean) / np.sqrt(len(x) - ddof)
    if len(rows) <= rows.shape[1]:
        return mean, rows, None
    basis, factor = np.linalg.qr(rows)
    return mean, factor, basis


def _slopes(
    x: np.ndarray, mean: np.ndarray, other: np.ndarray, ddof: int, u: np.ndarray, s: np.ndarray
) -> np.ndarray:
    centred = x - mean
    spread = (centred**2).sum(axis=1) / (len(x) - ddof) - (u**2) @ s
    slopes = 2 * centred @ (mean - other) / len(x) + spread
    return slopes - slopes.mean()


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrechetDistance:
    """`frechet_distance` of the two sides; the rows of a side are pooled and names need not be common.

    Attributes:
        ddof: as in `gaussians.fit`.
        reference: published statistics, for a state without reference side.
    """

    ddof: int = 1
    reference: Gaussian | None = None

    def compute(self, state: State, *, bootstrap: Bootstrap | None = None) -> Estimate:
        """The distance; details: rows of either side as "vectors", "reference_vectors", and their "width".

        Its expectation falls as rows are added, mostly while they are fewer than the width: figures of different
        numbers of clips cannot be compared. `bootstrap` says what the interval means.

        Raises:
            ValueError: see `checks`; also a reference side beside `reference`.
        """
        x, y = sides(state, self.reference, least=self.ddof + 1)
        other = y if isinstance(y, Gaussian) else fit(y, ddof=self.ddof)
        value = float(distance(fit(x, ddof=self.ddof), other))
        low, high = None, None
        if bootstrap is not None:
            of_x, of_y = derivatives(x, y, ddof=self.ddof)
            clips = by_clip(
                summed_by_clip(of_x, state.generated), summed_by_clip(of_y, state.reference)
            )
            low, high = linear_interval(value, clips, bootstrap)
        return Estimate(
            value=value,
            clips=len(state.generated),
            low=low if low is None else max(low, 0.0),
            high=high,
            details=details(x, y),
        )


def sides(
    state: State, reference: Gaussian | None, *, least: int
) -> tuple[Float[np.ndarray, "rows dim"], Float[np.ndarray, "others dim"] | Gaussian]:
    """Rows of the generated side, and those of the other, or the statistics that stand for it.

    Raises:
        ValueError: see `checks`; also a reference side beside `reference`.
    """
    x = vectors(state.generated, "generated", least=max(least, 2))
    if reference is None:
        y = vectors(state.reference, "reference", least=max(least, 2))
        same_width(x, y)
        return x, y
    if state.reference:
        raise ValueError(
            f"{len(state.reference)} reference clips beside published statistics; give one of them"
        )
    same_width(x, np.atleast_2d(reference.mean))
    return x, reference


def details(x: np.ndarray, y: np.ndarray | Gaussian) -> dict[str, float]:
    """What a distance was made of."""
    found = {"vectors": float(len(x)), "width": float(x.shape[1])}
    count = y.count if isinstance(y, Gaussian) else len(y)
    return found if count is None else found | {"reference_vectors": float(count)}
