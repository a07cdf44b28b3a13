"""What the files of tests/golden/pickles hold, which parity/goldens_pickles.py wrote."""

import pathlib

import ml_dtypes
import numpy as np

from tests.golden import FOLDER, random_array

PICKLES = FOLDER / "pickles"
ZIP, LEGACY = PICKLES / "plain.pth", PICKLES / "plain_legacy.pt"
LIGHTNING, LIGHTNING_LEGACY = PICKLES / "lightning.ckpt", PICKLES / "lightning_legacy.ckpt"
GENERATOR = PICKLES / "generator.pt"
SHARDED = PICKLES / "sharded"


def arrays() -> dict[str, np.ndarray]:
    """One array of each type, with shapes that are easy to get wrong."""
    real = {
        f"{np.dtype(kind).name}.weight": random_array(np.dtype(kind).name, (3, 4)).astype(kind)
        for kind in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)
    }
    whole = {
        f"{kind}.weight": np.arange(7).astype(kind) * 17 % 127
        for kind in ("int64", "int32", "int16", "int8", "uint8")
    }
    unsigned = {f"{kind}.weight": np.arange(5).astype(kind) * 9 for kind in ("uint16", "uint32")}
    return {
        **real,
        **whole,
        **unsigned,
        "bool.mask": np.arange(6).reshape(2, 3) % 3 == 0,
        "complex64.weight": (random_array("re", (2, 2)) + 1j * random_array("im", (2, 2))).astype(
            np.complex64
        ),
        "scalar": np.float32(2.5)[()],
        "empty": np.zeros((0, 4), np.float32),
        "parameter": random_array("parameter", (4,)).astype(np.float32),
    }


def views() -> dict[str, np.ndarray]:
    """Parts of one storage of 24 numbers, in the order of `torch`'s strides, not of memory."""
    base = random_array("views", (4, 6)).astype(np.float32)
    return {
        "base": base,
        "transposed": base.T,
        "columns": base[:, 1::2],
        "last": base[3],
        "repeated": np.broadcast_to(base[:, :1], (4, 3)),
        "permuted": base.reshape(2, 2, 6).transpose(2, 0, 1),
    }


def expected() -> dict[str, np.ndarray]:
    """Everything in `ZIP` and `LEGACY`."""
    return {**{key: np.asarray(value) for key, value in arrays().items()}, **views()}


def weights() -> dict[str, np.ndarray]:
    """What the lightning, generator and sharded files hold."""
    return {
        "conv.weight": random_array("conv.weight", (3, 2, 5)).astype(np.float32),
        "conv.bias": random_array("conv.bias", (3,)).astype(np.float32),
        "half": random_array("half", (4,)).astype(ml_dtypes.bfloat16),
    }


def files() -> list[pathlib.Path]:
    """All that `goldens_pickles.write` writes."""
    shards = [SHARDED / f"pytorch_model-0000{n}-of-00002.bin" for n in (1, 2)]
    return [
        *(ZIP, LEGACY, LIGHTNING, LIGHTNING_LEGACY, GENERATOR),
        *(*shards, SHARDED / "pytorch_model.bin.index.json"),
    ]
