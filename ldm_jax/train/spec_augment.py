"""SpecAugment (Park et al., arXiv 1904.08779): stripes of a spectrogram that the network does not see."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key


def stripes(
    key: Key[Array, ""], *, rows: int, length: int, width: int, count: int
) -> Bool[Array, "{rows} {length}"]:
    """Places within any of `count` stripes, each row its own.

    A stripe is w places wide, w = 0 .. width - 1, and starts anywhere in 0 .. length - w - 1, all equally likely: as
    torchlibrosa's `DropStripes` draws them, so that `width` itself never comes and the last place is rarely met.
    """
    how_wide, where = jax.random.split(key)
    wide = jax.random.randint(how_wide, (rows, count), 0, max(width, 1))
    begin = jax.random.randint(where, (rows, count), 0, length - wide)
    place = jnp.arange(length)[None, None, :]
    inside = (place >= begin[:, :, None]) & (place < (begin + wide)[:, :, None])
    return inside.any(axis=1)


def kept(
    key: Key[Array, ""],
    *,
    rows: int,
    frames: int,
    mels: int,
    time_stripes: tuple[int, int],
    mel_stripes: tuple[int, int],
) -> Bool[Array, "{rows} {frames} {mels}"]:
    """False within the stripes of each row.

    Args:
        key: for all of them.
        rows: of the batch.
        frames: of a spectrogram.
        mels: likewise.
        time_stripes: (width, count) of the stripes that hide all bands for a time.
        mel_stripes: (width, count) of those that hide some bands all the time.
    """
    in_time, in_mel = jax.random.split(key)
    frame = stripes(in_time, rows=rows, length=frames, width=time_stripes[0], count=time_stripes[1])
    mel = stripes(in_mel, rows=rows, length=mels, width=mel_stripes[0], count=mel_stripes[1])
    return ~(frame[:, :, None] | mel[:, None, :])
