"""Random weights and golden outputs: how a test without PyTorch holds our networks against the peers' own code.

`make goldens` runs each oracle (the peer's module, in float64, on `random_tensors`) and keeps the names and shapes of
its tensors and its outputs in `tests/golden/NAME.npz`. A test makes the same tensors again from the names, converts
them by the real tables, and compares.
"""

import json
import pathlib
import zlib
from collections.abc import Mapping

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "golden"
FLOAT32_BOUND = 1e-4
FLOAT64_BOUND = 1e-8


def random_array(name: str, shape: tuple[int, ...], *, seed: int = 0) -> np.ndarray:
    """Standard normal float64 that depends on `name`, `shape` and `seed` alone, on any machine."""
    state = np.random.RandomState(zlib.crc32(f"{seed}/{name}".encode()))
    return state.standard_normal(shape)


def random_tensors(
    shapes: Mapping[str, tuple[int, ...]], *, seed: int = 0, gain: float = 1.0
) -> dict[str, np.ndarray]:
    """Weights under which a deep network still carries a signal, in PyTorch's names and layouts, float64.

    Matrices and kernels have variance gain^2 / fan_in, embeddings 1, norm scales lie about 1 and biases about 0.
    Values are rounded to float32 first, so that both precisions see the same weights.
    """
    tensors = {}
    for name, shape in shapes.items():
        x = random_array(name, shape, seed=seed)
        if name.endswith("running_var"):
            x = 1 + 0.1 * np.abs(x)
        elif len(shape) <= 1:
            x = (1 + 0.1 * x) if name.endswith("weight") or not shape else 0.1 * x
        elif "embed" not in name:
            x = gain * x / np.sqrt(np.prod(shape[1:]))
        tensors[name] = x.astype(np.float32).astype(np.float64)
    return tensors


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """||ours - theirs|| / ||theirs|| over the whole array; infinite for NaN, zero signal or another shape."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    scale = np.linalg.norm(theirs)
    if ours.shape != theirs.shape or not np.isfinite(ours).all() or scale == 0:
        return np.inf
    return float(np.linalg.norm(ours - theirs) / scale)


def save(
    name: str, *, shapes: Mapping[str, tuple[int, ...]], outputs: Mapping[str, np.ndarray]
) -> None:
    """Writes tests/golden/NAME.npz."""
    FOLDER.mkdir(exist_ok=True)
    header = json.dumps({key: list(shape) for key, shape in shapes.items()})
    np.savez_compressed(
        FOLDER / f"{name}.npz", shapes=np.frombuffer(header.encode(), np.uint8), **outputs
    )


def load(name: str) -> tuple[dict[str, tuple[int, ...]], dict[str, np.ndarray]]:
    """(shapes by tensor name, outputs) of tests/golden/NAME.npz."""
    with np.load(FOLDER / f"{name}.npz") as stored:
        outputs = {key: stored[key] for key in stored.files if key != "shapes"}
        header = json.loads(stored["shapes"].tobytes())
    return {key: tuple(shape) for key, shape in header.items()}, outputs
