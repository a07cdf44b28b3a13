"""Arrays whose figures were computed by the published tools' own functions."""

import numpy as np

from ldm_jax.eval.metrics.state import State


def published() -> dict[str, np.ndarray]:
    """100 logits of 527 classes and features of width 64 a side, float32."""
    rng = np.random.RandomState(0)
    generated, reference = (3 * rng.randn(100, 527).astype(np.float32) for _ in range(2))
    return {
        "generated_logits": generated,
        "reference_logits": reference,
        "generated_features": np.maximum(rng.randn(100, 64), 0).astype(np.float32),
        "reference_features": np.maximum(1.2 * rng.randn(100, 64) + 0.1, 0).astype(np.float32),
    }


def paired(generated: np.ndarray, reference: np.ndarray, *, rows: int = 1) -> State:
    """A state whose sides have the same names, `rows` of each array a clip."""
    return State(_clips("clip", generated, rows), _clips("clip", reference, rows))


def apart(generated: np.ndarray, reference: np.ndarray, *, rows: int = 1) -> State:
    """A state whose sides have no name in common."""
    return State(_clips("generated", generated, rows), _clips("reference", reference, rows))


def _clips(prefix: str, x: np.ndarray, rows: int) -> dict[str, np.ndarray]:
    return {f"{prefix} {i:05}": x[i : i + rows] for i in range(0, len(x), rows)}


def features(
    seed: int, rows: int, width: int, *, scale: float = 1.0, shift: float = 0.0
) -> np.ndarray:
    """Gaussian vectors whose deviations fall as 1 / sqrt(k)."""
    spectrum = np.arange(1, width + 1) ** -0.5
    return np.random.RandomState(seed).randn(rows, width) * spectrum * scale + shift
