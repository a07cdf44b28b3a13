"""What goldens of training need: dropout without chance, and gradients in little room. No torch."""

import zlib

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

KEPT = 48  # numbers of each gradient


def wave(shape: tuple[int, ...], rate: float) -> np.ndarray:
    """Stands for dropout's mask: 1 + 5 rate sin(1), 1 + 5 rate sin(2), ... over the array.

    Both sides multiply by it wherever they would drop, so that every place of a dropout, its rate and what it shares
    among rows show in outputs and gradients.
    """
    return 1 + 5 * rate * np.sin(1.0 + np.arange(np.prod(shape))).reshape(shape)


def patterned_dropout(self: nn.Dropout, x, deterministic=None, rng=None):
    """In place of `flax.linen.Dropout.__call__`."""
    del rng
    if nn.merge_param("deterministic", self.deterministic, deterministic) or not self.rate:
        return x
    assert self.has_rng(self.rng_collection)
    shape = tuple(1 if i in self.broadcast_dims else n for i, n in enumerate(x.shape))
    pattern = np.broadcast_to(wave(shape, self.rate), x.shape)
    return x * jnp.asarray(pattern, x.dtype)


def some_of(gradients: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Up to `KEPT` numbers of each gradient, at places that its name says."""
    out = {}
    for name in sorted(gradients):
        flat = np.asarray(gradients[name]).reshape(-1)
        places = np.random.RandomState(zlib.crc32(name.encode())).permutation(flat.size)
        out[name] = flat[np.sort(places[:KEPT])]
    return out


def packed(gradients: dict[str, np.ndarray]) -> np.ndarray:
    """`some_of` them, one after the other."""
    return np.concatenate(list(some_of(gradients).values())).astype(np.float32)


def unpacked(numbers: np.ndarray, like: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `packed` joined, for gradients of the names and sizes of `like`."""
    parts = some_of(like)
    ends = np.cumsum([x.size for x in parts.values()])
    assert ends[-1] == numbers.size
    return dict(zip(parts, np.split(numbers, ends[:-1]), strict=True))
