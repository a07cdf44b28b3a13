"""Changing the sample rate by a short windowed sinc, as torchaudio's `resample` does, for NumPy and JAX arrays.

Evaluation tools use it, and a figure depends on the resampler; to resample for its own sake take `resampling`. Of JAX's
arrays it is one convolution, whose gradient is its transpose: a loss reaches through it to what made the wave.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ldm_jax.audio.polyphase import Design, design, filters, kernel
from ldm_jax.audio.stft import as_float

# Options of `sinc_resample`: resampy's "kaiser_best" in torchaudio's words, as ConsistencyTTA brings clips to 48 kHz.
KAISER_BEST: dict[str, Any] = {
    "width": 64,
    "rolloff": 0.9475937167399596,
    "beta": 14.769656459379492,
}
_MOST_WEIGHTS = 2**24  # of a compiled convolution; 44.1 to 16 kHz takes 130,000


def sinc_resample(
    wave: Float[np.ndarray | Array, "*batch samples"],
    rate: int,
    target: int,
    *,
    width: int = 6,
    rolloff: float = 0.99,
    beta: float | None = None,
    precision: type[np.floating] = np.float64,
) -> Float[np.ndarray | Array, "*batch resampled"]:
    """y_m = sum_n x_n h(m / target - n / rate), ceil(samples target / rate) samples in the wave's type.

    h(t) = 2 c sinc(2 c t) w(t) / rate, with c = rolloff min(rate, target) / 2 and the window w `width` zero crossings
    long on either side; beyond its ends the wave is zero.

    Args:
        wave: mono clips. Of JAX's arrays half precision comes out in float32.
        rate: of the wave in Hz.
        target: in Hz.
        width: zero crossings on either side; torchaudio's `lowpass_filter_width`.
        rolloff: cutoff as a share of the lower Nyquist frequency.
        beta: of a Kaiser window; None is a squared cosine ("sinc_interp_hann").
        precision: in which the filters are made. torchaudio's function makes them in the wave's, its transform in
            float64; that is worth up to 1e-6.

    Raises:
        ValueError: a rate that is not positive; of JAX's arrays, rates with so little in common that they take more
            than 2^24 weights.
    """
    made = design(rate, target, width=width, rolloff=rolloff, beta=beta, precision=precision)
    if made.step == made.phases:
        return wave
    out = _compiled(wave, made) if isinstance(wave, jax.Array) else _strided(wave, made)
    out = out.reshape(*wave.shape[:-1], -1)
    return out[..., : -(-target * wave.shape[-1] // rate)]


def _strided(
    wave: Float[np.ndarray, "*batch samples"], design: Design
) -> Float[np.ndarray, "*batch frames phases"]:
    """Every phase in turn: no more memory than the filters take, however little the rates have in common."""
    first, weights = filters(design)
    weights = weights.astype(wave.dtype)
    edges = [(0, 0)] * (wave.ndim - 1) + [(design.reach, design.reach + design.step)]
    taps = 2 * design.reach
    parts = np.lib.stride_tricks.sliding_window_view(np.pad(wave, edges), taps, axis=-1)
    count = wave.shape[-1] // design.step + 1
    out = np.empty((*wave.shape[:-1], count, design.phases), wave.dtype)
    for phase in range(design.phases):
        seen = parts[..., first[phase] :: design.step, :][..., :count, :]
        np.matmul(seen, weights[phase], out=out[..., phase])
    return out


def _compiled(
    wave: Float[Array, "*batch samples"], design: Design
) -> Float[Array, "*batch frames phases"]:
    """One convolution with a channel for each phase."""
    if design.phases * (2 * design.reach + design.step) > _MOST_WEIGHTS:
        raise ValueError(
            f"a ratio of {design.phases} to {design.step} samples takes too many filters to compile; resample on the"
            " host, or take rates with a larger common divisor"
        )
    wave = as_float(wave)
    clips = wave.reshape(-1, wave.shape[-1], 1)
    out = jax.lax.conv_general_dilated(
        clips,
        jnp.asarray(kernel(design), wave.dtype),
        (design.step,),
        [(design.reach, design.reach + design.step)],
        dimension_numbers=("NWC", "WIO", "NWC"),
        precision=jax.lax.Precision.HIGHEST,  # a TPU would multiply in bfloat16
    )
    out = out[:, : wave.shape[-1] // design.step + 1]
    return out.reshape(*wave.shape[:-1], *out.shape[1:])
