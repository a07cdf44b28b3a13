"""Means and covariances of features, kept so that float32 is enough and that sets of them can be joined.

A covariance S is held as a factor F, S = F^T F: the centred rows themselves over sqrt(n - ddof), or, of more rows than
columns, the triangle of their QR decomposition. S is never formed, which would square the condition number.
"""

import dataclasses
import pathlib

import numpy as np
from jaxtyping import Array, Float

from ldm_jax.audio.stft import namespace


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gaussian:
    """N(mean, factor^T factor).

    Attributes:
        mean: of the features.
        factor: of the covariance; at most as many rows as columns.
        count: of the vectors it was fitted to; None where a published file does not say.
        ddof: the covariance is the scatter over count - ddof.
    """

    mean: Float[np.ndarray | Array, " dim"]
    factor: Float[np.ndarray | Array, "rank dim"]
    count: int | None = None
    ddof: int = 1

    @property
    def covariance(self) -> Float[np.ndarray | Array, "dim dim"]:
        """factor^T factor."""
        return self.factor.T @ self.factor


def fit(x: Float[np.ndarray | Array, "rows dim"], *, ddof: int = 1) -> Gaussian:
    """Mean and covariance of the rows.

    Args:
        x: NumPy's in float64 or JAX's, these also inside a compiled program.
        ddof: 1 for the unbiased covariance, that of all published tools; 0 for that of maximum likelihood.

    Raises:
        ValueError: no more rows than `ddof`.
    """
    if len(x) <= ddof:
        raise ValueError(f"{len(x)} vectors; a covariance takes {ddof + 1} or more")
    mean = x.mean(axis=0)
    factor = _reduced((x - mean[None]) / np.sqrt(len(x) - ddof))
    return Gaussian(mean=mean, factor=factor, count=len(x), ddof=ddof)


def merge(a: Gaussian, b: Gaussian) -> Gaussian:
    """What `fit` says of the rows of both, to rounding.

    scatter = scatter_a + scatter_b + (n_a n_b / n) d d^T with d the difference of the means (Chan, Golub and LeVeque,
    1979), by one QR decomposition of the stacked factors.

    Raises:
        ValueError: one of them does not know how many vectors it was fitted to, or their `ddof` differ.
    """
    if a.count is None or b.count is None or a.ddof != b.ddof:
        raise ValueError("statistics can be joined if both know their count and have the same ddof")
    xp, n = namespace(a.mean), a.count + b.count
    d = b.mean - a.mean
    rows = [
        a.factor * np.sqrt(a.count - a.ddof),
        b.factor * np.sqrt(b.count - b.ddof),
        d[None] * np.sqrt(a.count * b.count / n),
    ]
    factor = _reduced(xp.concatenate(rows) / np.sqrt(n - a.ddof))
    return Gaussian(mean=a.mean + d * (b.count / n), factor=factor, count=n, ddof=a.ddof)


def from_covariance(
    mean: Float[np.ndarray, " dim"], covariance: Float[np.ndarray, "rows columns"]
) -> Gaussian:
    """Of published statistics; negative eigenvalues, which rounding leaves, count as zero.

    Raises:
        ValueError: shapes that do not fit, numbers that are not finite, or no covariance.
    """
    mean = np.atleast_1d(np.asarray(mean, np.float64))
    covariance = np.atleast_2d(np.asarray(covariance, np.float64))
    if covariance.shape != (mean.size, mean.size) or mean.ndim != 1:
        raise ValueError(f"a mean of shape {mean.shape}, a covariance of shape {covariance.shape}")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError("statistics that are not finite")
    values, basis = np.linalg.eigh((covariance + covariance.T) / 2)
    if values[0] < -1e-3 * max(values[-1], 0):
        raise ValueError(f"a covariance with the eigenvalue {values[0]:.3g}: this is none")
    kept = values > 0
    factor = np.sqrt(values[kept])[:, None] * basis[:, kept].T
    return Gaussian(mean=mean, factor=factor)


def read(path: pathlib.Path, model: str | None = None) -> Gaussian:
    """From a published `.npz`.

    Such are fadtk's, with MODEL.mu and MODEL.cov, stable-audio-metrics', with mu_ref and sigma_ref, and pytorch-fid's,
    with mu and sigma.

    Args:
        path: the file.
        model: which of fadtk's, of which a file may hold many; None where there is one.

    Raises:
        ValueError: the file holds no such statistics.
    """
    with np.load(path) as stored:
        pairs = {"mu_ref": "sigma_ref", "mu": "sigma"} | {
            key: key.removesuffix(".mu") + ".cov" for key in stored.files if key.endswith(".mu")
        }
        found = {mu: cov for mu, cov in pairs.items() if mu in stored.files and cov in stored.files}
        if model is not None:
            found = {mu: cov for mu, cov in found.items() if mu == f"{model}.mu"}
        if len(found) != 1:
            asked = (
                "one pair of mean and covariance" if model is None else f"{model}.mu, {model}.cov"
            )
            raise ValueError(f"{path}: expected {asked}; it holds {', '.join(stored.files)}")
        ((mu, cov),) = found.items()
        try:
            return from_covariance(stored[mu], stored[cov])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def write(path: pathlib.Path, gaussian: Gaussian, *, model: str) -> None:
    """As fadtk reads it: MODEL.mu, MODEL.cov."""
    arrays = {f"{model}.mu": gaussian.mean, f"{model}.cov": gaussian.covariance}
    np.savez(path, allow_pickle=False, **{key: np.asarray(x) for key, x in arrays.items()})


def _reduced(rows: np.ndarray | Array) -> np.ndarray | Array:
    """No more rows than columns, with the same rows^T rows."""
    if rows.shape[0] <= rows.shape[1]:
        return rows
    return namespace(rows).linalg.qr(rows, mode="r")
