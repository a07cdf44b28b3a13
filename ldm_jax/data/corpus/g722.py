"""Decoding G.722 at 64 kbit/s, the wide band of telephones: each byte is two samples at 16 kHz.

ITU-T Recommendation G.722 (09/2012), sections 4 and 6. Six bits of a byte code the lower half of the spectrum (0 to
4 kHz), two bits the upper half, each as the difference from a prediction; predictor and step size follow from what
came before. A quadrature mirror filter joins the halves. All arithmetic is the recommendation's, in whole numbers, so
that decoders agree in every sample. A step needs the one before it: many recordings are decoded side by side.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int16, Int32, UInt8

RATE = 16_000
BATCH = 128  # recordings side by side
BLOCK = 8_000  # codes in one compiled call: a second

# Differences of the lower half, in 1/32768 of the scale: by six bits for its samples, by four for the predictor.
_FINE = [
    *(24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856, 7192, 6576),
    *(6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728),
]
_COARSE = [20456, 12896, 8968, 6288, 4240, 2584, 1200]
LOW_SAMPLES = np.array([*[-136] * 4, *[-x for x in _FINE], *_FINE, 432, 136, -432, -136], np.int32)
LOW_STEPS = np.array([0, *[-x for x in _COARSE], *_COARSE, 0], np.int32)
HIGH_STEPS = np.array([-7408, -1616, 7408, 1616], np.int32)
# What a code adds to the logarithm of the scale, which is in 1/2048 of a doubling.
LOW_LOG = np.array([-60, *[3042, 1198, 538, 334, 172, 58, -30] * 2, -60], np.int32)
HIGH_LOG = np.array([798, -214, 798, -214], np.int32)
EXPONENTIALS = np.array(  # 2048 2^(k / 32), as the recommendation rounds it
    [
        *(2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774),
        *(2834, 2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838),
        *(3922, 4008),
    ],
    np.int32,
)
MIRROR = np.array([3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11], np.int32)


class Band(NamedTuple):
    """What the decoder remembers of one half of the spectrum, for every recording."""

    log_scale: Int32[Array, " batch"]
    scale: Int32[Array, " batch"]
    poles: Int32[Array, "batch 2"]  # of the predictor, over the last two reconstructed samples
    zeros: Int32[Array, "batch 6"]  # over the last six differences
    samples: Int32[Array, "batch 2"]  # newest first, and so below
    differences: Int32[Array, "batch 6"]
    partial: Int32[Array, "batch 2"]  # difference + what the zeros predicted
    predicted_by_zeros: Int32[Array, " batch"]
    predicted: Int32[Array, " batch"]


def decode(recordings: Sequence[bytes]) -> list[Int16[np.ndarray, " samples"]]:
    """Every recording as 16-bit samples at 16 kHz, two for each byte."""
    order = sorted(range(len(recordings)), key=lambda k: len(recordings[k]))
    decoded: list = [None] * len(recordings)
    for first in range(0, len(order), BATCH):
        batch = order[first : first + BATCH]
        lengths = [len(recordings[k]) for k in batch]
        blocks = -(-max(lengths) // BLOCK)
        codes = np.zeros((BATCH, blocks * BLOCK), np.uint8)
        for row, k in enumerate(batch):
            codes[row, : lengths[row]] = np.frombuffer(recordings[k], np.uint8)
        bands, parts = (_silence(BATCH, 32), _silence(BATCH, 8)), []
        for block in np.split(codes, blocks, axis=1) if blocks else ():
            bands, halves = _decode_block(bands, block)
            parts.append(np.asarray(halves))
        halves = np.concatenate([*parts, np.zeros((0, 2, BATCH), np.int32)])
        for row, k in enumerate(batch):
            decoded[k] = _join(halves[: lengths[row], :, row])
    return decoded


def _silence(batch: int, scale: int) -> Band:
    def zeros(*shape: int) -> Int32[Array, "..."]:
        return jnp.zeros((batch, *shape), jnp.int32)

    return Band(
        zeros(), zeros() + scale, zeros(2), zeros(6), zeros(2), zeros(6), zeros(2), zeros(), zeros()
    )  # fmt: skip


@jax.jit
def _decode_block(
    bands: tuple[Band, Band], codes: UInt8[Array | np.ndarray, "batch block"]
) -> tuple[tuple[Band, Band], Int32[Array, "block 2 batch"]]:
    """The lower and upper half's samples of a block, and what to remember for the next."""

    def step(
        bands: tuple[Band, Band], code: Int32[Array, " batch"]
    ) -> tuple[tuple[Band, Band], Int32[Array, "2 batch"]]:
        low, high = bands
        lower, upper = code & 63, code >> 6
        low_sample = _clip(low.predicted + (low.scale * _look_up(LOW_SAMPLES, lower) >> 15), 14)
        low = _adapt(low, _look_up(LOW_STEPS, lower >> 2), _look_up(LOW_LOG, lower >> 2), 18_432, 8)
        high_step = _look_up(HIGH_STEPS, upper)
        high_sample = _clip(high.predicted + (high.scale * high_step >> 15), 14)
        high = _adapt(high, high_step, _look_up(HIGH_LOG, upper), 22_528, 10)
        return (low, high), jnp.stack([low_sample, high_sample])

    return jax.lax.scan(step, bands, jnp.asarray(codes, jnp.int32).T)


def _look_up(table: Int32[np.ndarray, " n"], index: Int32[Array, "*b"]) -> Int32[Array, "*b"]:
    return jnp.asarray(table)[index]


def _clip(x: Int32[Array, "*b"], bits: int) -> Int32[Array, "*b"]:
    return jnp.clip(x, -(2**bits), 2**bits - 1)


def _adapt(
    band: Band,
    step: Int32[Array, " batch"],
    log_step: Int32[Array, " batch"],
    log_limit: int,
    shift: int,
) -> Band:
    """Section 6.2.1: the band after one code: scale, predictor (poles and zeros), and the next prediction."""
    word = functools.partial(_clip, bits=15)
    difference = band.scale * step >> 15
    sample = word(band.predicted + difference)
    partial = word(band.predicted_by_zeros + difference)
    log_scale = jnp.clip((band.log_scale * 127 >> 7) + log_step, 0, log_limit)
    mantissa, down = _look_up(EXPONENTIALS, log_scale >> 6 & 31), shift - (log_scale >> 11)
    scale = jnp.where(
        down >= 0, mantissa >> jnp.maximum(down, 0), mantissa << -jnp.minimum(down, 0)
    )

    first, second = band.poles[:, 0], band.poles[:, 1]
    same = [(partial < 0) == (band.partial[:, k] < 0) for k in range(2)]
    leaned = jnp.minimum(jnp.where(same[0], -word(first << 2), word(first << 2)), 32_767)
    second = jnp.clip(
        (leaned >> 7) + jnp.where(same[1], 128, -128) + (second * 32_512 >> 15), -12_288, 12_288
    )
    limit = word(15_360 - second)
    first = jnp.clip(jnp.where(same[0], 192, -192) + (first * 32_640 >> 15), -limit, limit)

    step_of_zeros = jnp.where(difference == 0, 0, 128)[:, None]
    agree = (band.differences < 0) == (difference < 0)[:, None]
    zeros = word(jnp.where(agree, step_of_zeros, -step_of_zeros) + (band.zeros * 32_640 >> 15))

    samples = jnp.stack([sample, band.samples[:, 0]], axis=1)
    differences = jnp.concatenate([difference[:, None], band.differences[:, :-1]], axis=1)
    poles = jnp.stack([first, second], axis=1)
    by_poles = word(jnp.sum(poles * word(samples * 2) >> 15, axis=1, dtype=jnp.int32))
    by_zeros = word(jnp.sum(zeros * word(differences * 2) >> 15, axis=1, dtype=jnp.int32))
    return Band(
        log_scale=log_scale,
        scale=scale << 2,
        poles=poles,
        zeros=zeros,
        samples=samples,
        differences=differences,
        partial=jnp.stack([partial, band.partial[:, 0]], axis=1),
        predicted_by_zeros=by_zeros,
        predicted=word(by_poles + by_zeros),
    )


def _join(halves: Int32[np.ndarray, "codes 2"]) -> Int16[np.ndarray, " samples"]:
    """Section 6.2.2: the quadrature mirror filter that makes one wave of the halves."""
    low, high = halves[:, 0], halves[:, 1]
    even, odd = low + high, low - high
    wave = np.empty(2 * len(halves), np.int32)
    if len(halves):
        wave[0::2] = np.convolve(odd, MIRROR)[: len(halves)]
        wave[1::2] = np.convolve(even, MIRROR[::-1])[: len(halves)]
    return np.clip(wave >> 11, -32_768, 32_767).astype(np.int16)
