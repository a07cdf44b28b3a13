"""The Fréchet distance against closed forms, against `scipy.linalg.sqrtm`, and in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from ldm_jax.eval.metrics import gaussians
from ldm_jax.eval.metrics.estimate import Bootstrap
from ldm_jax.eval.metrics.frechet import (
    FrechetDistance,
    derivatives,
    distance,
    frechet_distance,
)
from ldm_jax.eval.metrics.state import State
from tests.eval.metrics.cases import apart, features, paired, published


def by_sqrtm(x: np.ndarray, y: np.ndarray) -> float:
    """As the published tools compute it."""
    s, t = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(s @ t)
    shift = x.mean(axis=0) - y.mean(axis=0)
    return float(shift @ shift + np.trace(s) + np.trace(t) - 2 * np.trace(root).real)


def test_of_published_tool():
    arrays = published()
    state = apart(arrays["generated_features"], arrays["reference_features"])
    estimate = FrechetDistance().compute(state)
    assert estimate.value == pytest.approx(13.031904121806413, rel=1e-7)
    assert estimate.clips == 100
    assert estimate.details == {"vectors": 100, "width": 64, "reference_vectors": 100}


@pytest.mark.parametrize(
    ("rows", "others", "width"), [(300, 200, 12), (60, 80, 128), (30, 500, 64)]
)
def test_against_sqrtm(rows, others, width):
    x, y = features(0, rows, width), features(1, others, width, scale=1.3, shift=0.2)
    assert frechet_distance(x, y) == pytest.approx(by_sqrtm(x, y), rel=1e-5)


@pytest.mark.parametrize(
    ("rows", "others", "width"), [(300, 200, 12), (60, 80, 128), (30, 500, 64)]
)
def test_float32_inside_a_compiled_program(rows, others, width):
    x, y = features(0, rows, width), features(1, others, width, scale=1.3, shift=5.0)
    compiled = jax.jit(frechet_distance)(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32))
    assert compiled.dtype == jnp.float32
    assert float(compiled) == pytest.approx(float(frechet_distance(x, y)), rel=1e-6)


def test_width_one():
    """(m - n)^2 + (s - t)^2."""
    x, y = features(0, 50, 1), features(1, 70, 1, scale=3.0, shift=2.0)
    expected = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-12)
    expected = (x.mean() - y.mean()) ** 2 + (x.std() - y.std()) ** 2
    assert frechet_distance(x, y, ddof=0) == pytest.approx(expected, rel=1e-12)


def test_two_rows():
    """Of two points, whose covariance is u u^T: tr (u u^T v v^T)^(1/2) = |u.v|."""
    x, y = features(0, 2, 9), features(1, 2, 9)
    u, v = (x[0] - x[1]) / np.sqrt(2), (y[0] - y[1]) / np.sqrt(2)
    shift = x.mean(axis=0) - y.mean(axis=0)
    expected = shift @ shift + u @ u + v @ v - 2 * abs(u @ v)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-12)


def test_of_gaussians_with_covariances_that_commute():
    deviations = np.array([0.5, 1.0, 2.0]), np.array([1.5, 1.0, 0.1])
    turned = np.linalg.qr(features(0, 3, 3))[0]
    a, b = (
        gaussians.from_covariance(mean, turned @ np.diag(s**2) @ turned.T)
        for mean, s in zip((np.zeros(3), np.array([1.0, 2.0, 2.0])), deviations, strict=True)
    )
    expected = 9 + ((deviations[0] - deviations[1]) ** 2).sum()
    assert distance(a, b) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("rows", "width"), [(50, 8), (20, 64)])
def test_alike(rows, width):
    x = features(0, rows, width)
    estimate = FrechetDistance().compute(paired(x, x), bootstrap=Bootstrap(draws=50))
    assert estimate.value == pytest.approx(0, abs=1e-12)
    assert estimate.value >= 0
    assert estimate.low == pytest.approx(0, abs=1e-12)
    assert estimate.high == pytest.approx(0, abs=1e-12)


def test_turned_features_are_as_far():
    x, y = features(0, 40, 16), features(1, 50, 16, shift=0.3)
    turned = np.linalg.qr(np.random.RandomState(2).randn(16, 16))[0]
    assert frechet_distance(x @ turned, y @ turned) == pytest.approx(
        float(frechet_distance(x, y)), rel=1e-12
    )


@pytest.mark.parametrize(("rows", "width"), [(31, 5), (13, 40)])
def test_derivatives_are_those_of_the_weighted_distance(rows, width):
    x, y = features(0, rows, width), features(1, rows + 4, width, scale=1.3, shift=0.2)
    sides = (x, np.ones(len(x))), (y, np.ones(len(y)))
    assert _weighted(*sides) == pytest.approx(float(frechet_distance(x, y)), rel=1e-12)
    of_x, of_y = derivatives(x, y)
    for i, derivative in ((0, of_x), (1, of_y)):
        numeric = []
        for row in range(len(sides[i][0])):
            nudge = 1e-5 * np.eye(len(sides[i][0]))[row]
            both = [
                _weighted(*sides[:i], (sides[i][0], sides[i][1] + sign * nudge), *sides[i + 1 :])
                for sign in (1, -1)
            ]
            numeric.append((both[0] - both[1]) / 2e-5)
        np.testing.assert_allclose(derivative, numeric, atol=1e-6)


def _weighted(first: tuple, second: tuple) -> float:
    found = []
    for x, w in (first, second):
        mean = w @ x / w.sum()
        root = np.sqrt(w / w.sum() * len(x) / (len(x) - 1))
        found.append((mean, root[:, None] * (x - mean)))
    (m, a), (n, b) = found
    squares = ((m - n) ** 2).sum() + (a**2).sum() + (b**2).sum()
    return squares - 2 * np.linalg.norm(a @ b.T, "nuc")


def test_merged_statistics_are_those_of_all_rows():
    x = features(0, 200, 16, shift=3.0)
    parts = [gaussians.fit(part) for part in np.split(x, [5, 9, 100, 102])]
    merged = parts[0]
    for part in parts[1:]:
        merged = gaussians.merge(merged, part)
    whole = gaussians.fit(x)
    assert (merged.count, merged.factor.shape) == (200, (16, 16))
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(merged.covariance, np.cov(x, rowvar=False), rtol=1e-11, atol=1e-13)
    y = gaussians.fit(features(1, 30, 16))
    assert distance(merged, y) == pytest.approx(float(distance(whole, y)), rel=1e-12)


@pytest.mark.parametrize(
    "keys",
    [("vggish.mu", "vggish.cov"), ("mu_ref", "sigma_ref"), ("mu", "sigma")],
    ids=["fadtk", "stable-audio-metrics", "pytorch-fid"],
)
def test_published_statistics_stand_for_the_reference(tmp_path, keys):
    x, y = features(0, 40, 16), features(1, 60, 16, shift=0.4)
    arrays = dict(zip(keys, (y.mean(axis=0), np.cov(y, rowvar=False)), strict=True))
    np.savez(tmp_path / "stats.npz", **arrays)
    reference = gaussians.read(tmp_path / "stats.npz")
    state = apart(x, y)
    expected = FrechetDistance().compute(state, bootstrap=Bootstrap(draws=200))
    alone = State(state.generated, {})
    found = FrechetDistance(reference=reference).compute(alone, bootstrap=Bootstrap(draws=200))
    assert found.value == pytest.approx(expected.value, rel=1e-9)
    assert found.high - found.low < expected.high - expected.low  # the reference does not vary
    of_x = derivatives(x, y)[0]
    np.testing.assert_allclose(derivatives(x, reference)[0], of_x, atol=1e-9)


def test_written_statistics_are_read_again(tmp_path):
    for model in ("vggish", "clap"):
        gaussians.write(tmp_path / f"{model}.npz", gaussians.fit(features(3, 9, 4)), model=model)
    read = gaussians.read(tmp_path / "vggish.npz", "vggish")
    np.testing.assert_allclose(read.covariance, np.cov(features(3, 9, 4), rowvar=False), atol=1e-14)
    with pytest.raises(
        ValueError, match=r"expected vggish.mu, vggish.cov; it holds clap.mu, clap.cov"
    ):
        gaussians.read(tmp_path / "clap.npz", "vggish")


def test_statistics_that_are_none(tmp_path):
    for name, arrays, message in (
        ("negative", {"mu": np.zeros(2), "sigma": -np.eye(2)}, "this is none"),
        ("nan", {"mu": np.array([0, np.nan]), "sigma": np.eye(2)}, "not finite"),
        ("shapes", {"mu": np.zeros(3), "sigma": np.eye(2)}, r"mean of shape \(3,\)"),
        ("else", {"weights": np.zeros(3)}, "it holds weights"),
    ):
        np.savez(tmp_path / f"{name}.npz", **arrays)
        with pytest.raises(ValueError, match=message):
            gaussians.read(tmp_path / f"{name}.npz")


def test_published_statistics_beside_clips():
    x = features(0, 10, 4)
    with pytest.raises(ValueError, match="10 reference clips beside published statistics"):
        FrechetDistance(reference=gaussians.fit(x)).compute(apart(x, x))
    with pytest.raises(ValueError, match=r"width 4 \(generated\) and 5"):
        FrechetDistance(reference=gaussians.fit(features(0, 9, 5))).compute(
            State(apart(x, x).generated, {})
        )
