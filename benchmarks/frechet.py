"""The Fréchet distance beside what the published tools call, `scipy.linalg.sqrtm` of the covariances' product.

    .venv/bin/python benchmarks/frechet.py [--clips 1000] [--width 2048] [--skip-sqrtm]

Features are rectified Gaussian noise, one vector a clip, as PANNs' are. "theirs" is mean, covariance, sqrtm and traces
as audioldm_eval, frechet-audio-distance and pytorch-fid have them; sqrtm takes 15 s to a minute at width 2048,
depending on the version of SciPy.
Run it alone: the times are of all cores.
"""

import argparse
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from ldm_jax.eval.metrics.estimate import Bootstrap
from ldm_jax.eval.metrics.frechet import FrechetDistance, frechet_distance
from ldm_jax.eval.metrics.state import State


def theirs(x: np.ndarray, y: np.ndarray) -> float:
    """By sqrtm, as the published tools."""
    means, covariances = zip(
        *((z.mean(axis=0), np.cov(z, rowvar=False)) for z in (x, y)), strict=True
    )
    root = np.asarray(scipy.linalg.sqrtm(covariances[0] @ covariances[1]))
    shift = means[0] - means[1]
    return float(shift @ shift + sum(map(np.trace, covariances)) - 2 * np.trace(root).real)


def timed(run: Callable[[], float], *, repeats: int) -> tuple[float, float]:
    """(what it returns, the median of the seconds it takes)."""
    seconds, value = [], 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        value = run()
        seconds.append(time.perf_counter() - start)
    return value, float(np.median(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--skip-sqrtm", action="store_true")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    x, y = (
        np.maximum(scale * rng.standard_normal((args.clips, args.width)), 0) for scale in (1.0, 1.1)
    )
    state = State(
        {f"g{i}": row[None] for i, row in enumerate(x)},
        {f"r{i}": row[None] for i, row in enumerate(y)},
    )
    single = [jnp.asarray(side, jnp.float32) for side in (x, y)]
    compiled = jax.jit(frechet_distance)
    compiled(*single).block_until_ready()
    metric = FrechetDistance()
    cases: dict[str, Callable[[], float]] = {
        "ours, NumPy, float64": lambda: float(frechet_distance(x, y)),
        f"ours, JAX on {jax.default_backend()}, float32": lambda: float(compiled(*single)),
        "ours with a 95 % interval": lambda: (
            metric.compute(state, bootstrap=Bootstrap(draws=1000)).value
        ),
    }
    exact, base = timed(cases["ours, NumPy, float64"], repeats=3)
    print(f"{args.clips} clips a side, width {args.width}")
    for name, run in cases.items():
        value, seconds = timed(run, repeats=3)
        print(f"{name:32} {seconds:8.2f} s  {value:.6f}  off by {abs(value / exact - 1):.1e}")
    if not args.skip_sqrtm:
        value, seconds = timed(lambda: theirs(x, y), repeats=1)
        print(f"{'theirs':32} {seconds:8.2f} s  {value:.6f}  off by {abs(value / exact - 1):.1e}")
        print(f"ratio {seconds / base:.0f}")


if __name__ == "__main__":
    main()
